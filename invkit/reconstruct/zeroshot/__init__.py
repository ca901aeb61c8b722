"""Zero-shot solvers over an unconditional prior, by their names in `eval.methods`."""

from invkit.reconstruct.method import Method
from invkit.reconstruct.zeroshot.base import Solver, ZeroShot
from invkit.reconstruct.zeroshot.ddnm import Ddnm
from invkit.reconstruct.zeroshot.ddrm import Ddrm
from invkit.reconstruct.zeroshot.diffpir import Diffpir
from invkit.reconstruct.zeroshot.dps import Dps
from invkit.reconstruct.zeroshot.pigdm import Pigdm
from invkit.reconstruct.zeroshot.prior import Prior, TrainedPrior
from invkit.reconstruct.zeroshot.repaint import Repaint

SOLVERS: dict[str, type[Method]] = {cls.title: cls for cls in (Repaint, Ddnm, Ddrm, Dps, Pigdm, Diffpir)}

__all__ = ["SOLVERS", "Prior", "Solver", "TrainedPrior", "ZeroShot"]
