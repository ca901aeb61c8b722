"""The residual's unit: how far pictures lie from their fill, given how far what was seen lies from its own kriging."""

import math
from dataclasses import dataclass

from torch import Tensor

SIGNIFICANT = 3.0  # standard errors from none, below which no exponent is taken to be seen
SMALLEST = 1e-4  # scale


@dataclass(frozen=True)
class ResidualScale:
    """`scale (misfit / reference)^exponent`, a factor on the deviation that a fill expects of itself.

    The misfit is that of the values seen to one another (`GaussianPosterior.misfit`): it follows a picture's contrast, and how
    a law that is not the pictures' misjudges them where more is seen. Pictures in this unit look alike to the network,
    which has to learn their residual's shape and not its size. Beyond the range in training its ends hold; the reference is
    that range's geometric middle.
    """

    scale: float
    exponent: float = 0.0
    misfit: tuple[float, float] = (1.0, 1.0)  # lowest and highest in training

    def __call__(
        self,
        misfit: Tensor,  # (B,)
    ) -> Tensor:
        """Deviation of the residual in units of what is expected, (B,)."""
        low, high = self.misfit
        return self.scale * (misfit.clamp(low, high) / math.sqrt(low * high)) ** self.exponent

    @classmethod
    def fit(
        cls,
        squares: Tensor,  # (N,): sum of the squared residuals of each picture, in units of its expected deviation
        counts: Tensor,  # (N,): of so many hidden values
        misfit: Tensor,  # (N,)
    ) -> "ResidualScale":
        """The unit in which the residuals of training pictures have deviation one."""
        squares, counts, misfit = squares.double(), counts.double(), misfit.double()
        kept = (squares > 0) & (misfit > 0)
        if not kept.any():
            return cls(SMALLEST)
        known = float(misfit[kept].min()), float(misfit[kept].max())
        trial = cls(1.0, _slope(misfit[kept].log(), (squares / counts)[kept].log() / 2), known)
        power = float((squares / trial(misfit).square()).sum() / counts.sum())
        return cls(max(math.sqrt(power), SMALLEST), trial.exponent, known)


def _slope(x: Tensor, y: Tensor) -> float:
    """Least squares; zero where it is not told from none."""
    x, y = x - x.mean(), y - y.mean()
    power = float(x.square().sum())
    if len(x) < 3 or power < 1e-6 * len(x):
        return 0.0
    slope = float((x * y).sum()) / power
    error = math.sqrt(float((y - slope * x).square().sum()) / (len(x) - 2) / power)
    return slope if abs(slope) > SIGNIFICANT * error else 0.0
