"""The residual's unit: how far pictures lie from their fill, given how far the fill expects them to."""

import math
from dataclasses import dataclass

from torch import Tensor

SIGNIFICANT = 3.0  # standard errors from none, below which no tilt is taken to be seen
SMALLEST = 1e-4  # scale


@dataclass(frozen=True)
class Unit:
    """`scale (e / reference)^tilt` times the expected deviation, with e its root mean square over what is hidden.

    A fill under another law than the pictures' expects an error that is wrong by a factor, and by another one where more is
    seen. Without the power law a model of many densities learns those well where the residual happens to be large. Beyond
    the range of e in training its ends hold; the reference is that range's geometric middle.
    """

    scale: float
    tilt: float = 0.0
    expected: tuple[float, float] = (1.0, 1.0)  # lowest and highest e in training

    def __call__(
        self,
        deviation: Tensor,  # (B, 1, H, W)
        hidden: Tensor | None,  # (B, 1 or C, H, W), as in `Condition`
    ) -> Tensor:
        return deviation * self.of(expectation(deviation, hidden)).view(-1, 1, 1, 1)

    def of(self, e: Tensor) -> Tensor:
        """Deviation of the residual in units of what is expected, (B,)."""
        low, high = self.expected
        return self.scale * (e.clamp(low, high) / math.sqrt(low * high)) ** self.tilt

    @classmethod
    def fit(
        cls,
        squares: Tensor,  # (N,): sum of the squared residuals of each picture, in units of its expected deviation
        counts: Tensor,  # (N,): of so many hidden values
        e: Tensor,  # (N,)
    ) -> "Unit":
        """The unit in which the residuals of training pictures have deviation one."""
        squares, counts, e = squares.double(), counts.double(), e.double()
        kept = (squares > 0) & (e > 0)
        if not kept.any():
            return cls(SMALLEST)
        expected = float(e[kept].min()), float(e[kept].max())
        trial = cls(1.0, _slope(e[kept].log(), (squares / counts)[kept].log() / 2), expected)
        power = float((squares / trial.of(e).square()).sum() / counts.sum())
        return cls(max(math.sqrt(power), SMALLEST), trial.tilt, expected)


def expectation(deviation: Tensor, hidden: Tensor | None) -> Tensor:
    """Root mean square of the expected deviation (B, 1, H, W) over what is hidden: (B,)."""
    if hidden is None:
        return deviation.square().mean((1, 2, 3)).sqrt()
    where = hidden.mean(1, keepdim=True)
    return ((deviation.square() * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1e-6)).sqrt()


def _slope(x: Tensor, y: Tensor) -> float:
    """Least squares; zero where it is not told from none."""
    x, y = x - x.mean(), y - y.mean()
    power = float(x.square().sum())
    if len(x) < 3 or power < 1e-6 * len(x):
        return 0.0
    slope = float((x * y).sum()) / power
    error = math.sqrt(float((y - slope * x).square().sum()) / (len(x) - 2) / power)
    return slope if abs(slope) > SIGNIFICANT * error else 0.0
