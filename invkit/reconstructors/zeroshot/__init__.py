"""Zero-shot solvers with an unconditional prior, by name in `eval.methods`."""

from invkit.reconstructors.base import Method
from invkit.reconstructors.zeroshot.base import CLOSED_FORM, Solver, ZeroShot
from invkit.reconstructors.zeroshot.closed_form import FieldPrior, MixturePrior
from invkit.reconstructors.zeroshot.daps import Daps
from invkit.reconstructors.zeroshot.ddnm import Ddnm
from invkit.reconstructors.zeroshot.ddrm import Ddrm
from invkit.reconstructors.zeroshot.diffpir import Diffpir
from invkit.reconstructors.zeroshot.dps import Dps
from invkit.reconstructors.zeroshot.mmps import Mmps
from invkit.reconstructors.zeroshot.pigdm import Pigdm
from invkit.reconstructors.zeroshot.prior import Prior, TrainedPrior
from invkit.reconstructors.zeroshot.repaint import Repaint
from invkit.reconstructors.zeroshot.tds import Tds

SOLVERS: dict[str, type[Method]] = {
    cls.title: cls for cls in (Repaint, Ddnm, Ddrm, Dps, Pigdm, Mmps, Diffpir, Daps, Tds)
}
__all__ = ["CLOSED_FORM", "SOLVERS", "FieldPrior", "MixturePrior", "Prior", "Solver", "TrainedPrior", "ZeroShot"]
