"""Per-image residual scale, regressed on the standardised leave-one-out kriging error of the observed values."""

import math
from dataclasses import dataclass

from torch import Tensor

SIGNIFICANT = 3.0  # standard errors; an exponent closer to zero is taken as zero
SMALLEST = 1e-4  # lower bound of the scale


@dataclass(frozen=True)
class ResidualScale:
    """`scale (loo_error / reference)^exponent`: a factor on the standard deviation of the initial estimate.

    `loo_error` is the leave-one-out error of the observed values (`GaussianPosterior.loo_error`). It follows the contrast of
    an image, and the error of a prior covariance that does not fit the images. Divided by this scale, residuals of all
    images have similar size, and the network has to learn their shape only. It is clamped to its range in training; the
    reference is the geometric mean of that range.
    """

    scale: float
    exponent: float = 0.0
    loo_error: tuple[float, float] = (1.0, 1.0)  # smallest and largest in training

    def __call__(
        self,
        loo_error: Tensor,  # (B,)
    ) -> Tensor:
        """Standard deviation of the residual relative to that of the initial estimate, (B,)."""
        low, high = self.loo_error
        return self.scale * (loo_error.clamp(low, high) / math.sqrt(low * high)) ** self.exponent

    @classmethod
    def fit(
        cls,
        squares: Tensor,  # (N,): sum of the squared residuals of each image, over the estimate's variance
        counts: Tensor,  # (N,): number of hidden values
        loo_error: Tensor,  # (N,)
    ) -> "ResidualScale":
        """The scale by which the residuals of the training images have standard deviation one."""
        squares, counts, loo_error = squares.double(), counts.double(), loo_error.double()
        kept = (squares > 0) & (loo_error > 0)
        if not kept.any():
            return cls(SMALLEST)
        known = float(loo_error[kept].min()), float(loo_error[kept].max())
        trial = cls(1.0, _slope(loo_error[kept].log(), (squares / counts)[kept].log() / 2), known)
        power = float((squares / trial(loo_error).square()).sum() / counts.sum())
        return cls(max(math.sqrt(power), SMALLEST), trial.exponent, known)


def _slope(x: Tensor, y: Tensor) -> float:
    """The least-squares slope of y on x; zero where it is not significant."""
    x, y = x - x.mean(), y - y.mean()
    power = float(x.square().sum())
    if len(x) < 3 or power < 1e-6 * len(x):
        return 0.0
    slope = float((x * y).sum()) / power
    error = math.sqrt(float((y - slope * x).square().sum()) / (len(x) - 2) / power)
    return slope if abs(slope) > SIGNIFICANT * error else 0.0
