"""Posterior mean and samples, their standard deviation and intervals."""

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import torch
from torch import Tensor

from invkit.physics.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior mean and samples in [-1, 1] units, not clipped; exactly observed pixels have their observed values."""

    measurement: Measurement
    mean: Tensor  # (B, C, H, W)
    samples: Tensor  # (K, B, C, H, W)

    @cached_property
    def deviation(self) -> Tensor:
        """Standard deviation of the samples (B, C, H, W), zero at exactly observed pixels.

        Raises ValueError for a single sample.
        """
        if len(self.samples) < 2:
            raise ValueError("the standard deviation requires at least 2 samples")
        deviation, exact = self.samples.std(0), self.measurement.exact
        return deviation if exact is None else torch.where(exact, 0.0, deviation)

    def interval(self, percent: int) -> tuple[Tensor, Tensor]:
        """Lower and upper bound, (B, C, H, W) each, of the central interval between two order statistics of the samples.

        It contains another sample of the same distribution with a probability of `percent` %. Possible values are 50, 80
        and 90 for 19 samples, and also 95 for 39. Raises ValueError if the number of samples allows no such interval.
        """
        count = len(self.samples)
        if (rank := central_rank(percent, count)) is None:
            least = next(k for k in range(1, 200) if central_rank(percent, k))
            raise ValueError(f"{count} samples allow no {percent} % interval; {least} do ({_possible(count)})")
        lower = self.samples.kthvalue(rank, 0).values
        return lower, self.samples.kthvalue(count + 1 - rank, 0).values


def central_rank(percent: int, count: int) -> int | None:
    """The rank r such that [x_(r), x_(K+1-r)] of K ordered samples contains another sample with probability `percent` %.

    The probability is exact for any continuous distribution. None if K samples have no such rank. Raises ValueError for anything
    but a whole number from 1 to 99.

    >>> central_rank(90, 19), central_rank(95, 39), central_rank(95, 19)
    (1, 1, None)
    """
    if not (isinstance(percent, Integral) and 0 < percent < 100):
        raise ValueError(f"percent should be a whole number from 1 to 99, got {percent!r} ({_possible(count)})")
    rank, rest = divmod((100 - int(percent)) * (count + 1), 200)
    return rank if rest == 0 and rank >= 1 else None


def _possible(count: int) -> str:
    values = ", ".join(str(percent) for percent in range(1, 100) if central_rank(percent, count))
    return f"possible with {count} samples: {values or 'none'}"
