"""What a model is trained on: images, degradation, noise and the order in which they come."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement, Noise, measure


@lru_cache(maxsize=4)  # of two epochs on two grids: pictures are read ahead
def _epoch(seed: int, epoch: int, count: int) -> Tensor:
    return Keys.of(seed, "epoch", [epoch]).permutation("order", count)[0]


def picture_ids(seed: int, positions: Tensor, count: int) -> list[int]:
    """Which picture stands at each position of the endless stream of keyed epochs."""
    return [int(_epoch(seed, p // count, count)[p % count]) for p in positions.tolist()]


def quantiles(seed: int, positions: Tensor) -> Tensor:
    """A low-discrepancy sequence in [0, 1) over the stream: any run of n positions has about one in every interval 1 / n.

    Multiples of the golden ratio, shifted by the seed (Niederreiter 1992, section 3.1).
    """
    shift = Keys.of(seed, "quantiles", [0]).uniform("shift", 1).double()
    return ((shift[0] + positions.double() * ((math.sqrt(5) - 1) / 2)) % 1).float().clamp(max=1 - 1e-7)


@dataclass(frozen=True)
class Problem:
    """What is learned: pictures on one or more grids, how they are measured, and the seed of every draw."""

    images: Mapping[Grid, Images]
    degradation: Degradation
    noise: Noise
    seed: int

    @property
    def grids(self) -> list[Grid]:
        return list(self.images)

    def measure(self, x: Tensor, keys: Keys, grid: Grid) -> Measurement:
        """Measure pictures (B, C, H, W) with operators and noise of their own keys."""
        return measure(self.degradation.sample(keys.child("operator"), grid), x, self.noise, keys.child("noise"))
