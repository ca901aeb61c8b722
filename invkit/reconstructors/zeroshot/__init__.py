"""Zero-shot solvers with an unconditional prior, by name in `eval.methods`."""

from invkit.reconstructors.base import Method
from invkit.reconstructors.zeroshot.base import Solver, ZeroShot
from invkit.reconstructors.zeroshot.closed_form import FieldPrior, MixturePrior
from invkit.reconstructors.zeroshot.daps import Daps
from invkit.reconstructors.zeroshot.ddnm import Ddnm
from invkit.reconstructors.zeroshot.ddrm import Ddrm
from invkit.reconstructors.zeroshot.denoisers import DenoiserFile, DenoiserPrior
from invkit.reconstructors.zeroshot.diffpir import Diffpir
from invkit.reconstructors.zeroshot.diffusers_model import DiffusersModel
from invkit.reconstructors.zeroshot.dps import Dps
from invkit.reconstructors.zeroshot.mmps import Mmps
from invkit.reconstructors.zeroshot.pigdm import Pigdm
from invkit.reconstructors.zeroshot.pnp_hqs import PnpHqs
from invkit.reconstructors.zeroshot.prior import Prior, TrainedPrior
from invkit.reconstructors.zeroshot.priors import WRITTEN, ImagePrior, Pretrained, Run
from invkit.reconstructors.zeroshot.red_diff import RedDiff
from invkit.reconstructors.zeroshot.repaint import Repaint
from invkit.reconstructors.zeroshot.tds import Tds

SOLVERS: dict[str, type[Method]] = {
    cls.title: cls for cls in (Repaint, Ddnm, Ddrm, Dps, Pigdm, Mmps, Diffpir, Daps, Tds, PnpHqs, RedDiff)
}
PRIORS: dict[str, type[ImagePrior]] = {
    "run": Run, "pretrained": Pretrained, **WRITTEN, "denoiser": DenoiserFile, "diffusers": DiffusersModel,
}  # fmt: skip
__all__ = [
    "PRIORS",
    "SOLVERS",
    "DenoiserPrior",
    "FieldPrior",
    "ImagePrior",
    "MixturePrior",
    "Prior",
    "Solver",
    "TrainedPrior",
    "ZeroShot",
]
