"""The residual's unit: how far pictures lie from their fill, given how far the fill expects them to."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = (
    0.3  # tilt below which none is taken: over a factor of two in deviation it changes the unit by less than a quarter
)
SMALLEST = 1e-4  # scale
BINS = 8  # of deviation, for every factor of two
OCTAVES = 24  # below and above a deviation of one that are told apart
ENDS = 0.005  # share of the hidden values beyond either end of the range of deviations


@dataclass(frozen=True)
class Unit:
    """`scale d (d / reference)^tilt` for an expected deviation d.

    A fill under another law than the pictures' expects an error that is wrong by a factor, and by another one nearer to
    what is seen. Without the power law a model learns well where the residual happens to be large. In the power, d is held to
    its range in training; the reference is that range's geometric middle.
    """

    scale: float
    tilt: float = 0.0
    deviations: tuple[float, float] = (1.0, 1.0)  # lowest and highest d in training

    def __call__(
        self,
        deviation: Tensor,  # (B, 1, H, W)
    ) -> Tensor:
        return deviation * self.of(deviation)

    def of(self, deviation: Tensor) -> Tensor:
        """The unit in units of what is expected."""
        low, high = self.deviations
        return self.scale * (deviation.clamp(low, high) / math.sqrt(low * high)) ** self.tilt

    @classmethod
    def fit(
        cls,
        residual: Tensor,  # (N, C, H, W): of training pictures, in units of its expected deviation, zero where known
        deviation: Tensor,  # (N, 1, H, W)
        hidden: Tensor,  # (N, C, H, W): one where unknown
    ) -> "Unit":
        """The unit in which the residuals have deviation one, whatever is expected of them."""
        parts = list(zip(residual.split(64), deviation.split(64), hidden.split(64), strict=True))
        count, total = torch.zeros(2, 2 * OCTAVES * BINS + 1, dtype=torch.float64)
        for z, d, h in parts:
            place = ((d.double().log2() + OCTAVES) * BINS).round().clamp(0, len(count) - 1).long().flatten()
            count.index_add_(0, place, h.double().sum(1).flatten())
            total.index_add_(0, place, z.double().square().sum(1).flatten())
        if not float(total.sum()):
            return cls(SMALLEST)
        share = (count.cumsum(0) - count / 2) / count.sum()
        found = ((share > ENDS) & (share < 1 - ENDS) & (total > 0)).nonzero()[:, 0]
        d = 2 ** (found.double() / BINS - OCTAVES)
        trial = cls(1.0)
        if len(found) > 2:
            slope = _slope(d.log(), (total / count)[found].log() / 2, count[found])
            trial = cls(1.0, slope if abs(slope) > LEAST else 0.0, (float(d[0]), float(d[-1])))
        power = sum(float((z / trial.of(d)).double().square().sum()) for z, d, _ in parts) / float(count.sum())
        return cls(max(math.sqrt(power), SMALLEST), trial.tilt, trial.deviations)


def _slope(x: Tensor, y: Tensor, weight: Tensor) -> float:
    """Least squares."""
    weight = weight / weight.sum()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return float((weight * x * y).sum() / (weight * x * x).sum())
