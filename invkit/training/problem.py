"""The training problem: images, degradation and noise; order of the images and quantiles of the noise levels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.physics.degradation import Degradation
from invkit.physics.gaussian import FittedField
from invkit.physics.measurement import Measurement, measure
from invkit.physics.noise import NoiseLaw, white_sigma
from invkit.training.incomplete import complete, hold, measurement_of


@lru_cache(maxsize=4)  # two epochs on two grids, because images are prefetched
def _epoch(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return Keys.of(seed, "epoch", [epoch]).permutation("order", count)[0].numpy()


def image_ids(seed: int, positions: Tensor, count: int) -> list[int]:
    """Image indices at the given positions of the infinite sequence of keyed epochs."""
    return [int(_epoch(seed, p // count, count)[p % count]) for p in positions.tolist()]


@lru_cache(maxsize=4)
def _shift(seed: int) -> float:
    return float(Keys.of(seed, "quantiles", [0]).uniform("shift"))


def quantiles(seed: int, positions: Tensor) -> Tensor:
    """A low-discrepancy sequence in [0, 1): any n consecutive positions have about one value in each interval of length 1 / n.

    Multiples of the golden ratio, shifted by the seed (Niederreiter 1992, section 3.1).
    """
    values = (_shift(seed) + positions.numpy() * ((math.sqrt(5) - 1) / 2)) % 1
    return torch.from_numpy(values.astype(np.float32).clip(max=1 - 1e-7))


@dataclass(frozen=True)
class Problem:
    """The training problem: images on one or more grids, the degradation and noise, and the seed of all random numbers."""

    images: Mapping[Grid, Images]
    degradation: Degradation
    noise: NoiseLaw
    seed: int
    held: tuple[float, float] | None = (
        None  # shares of the measured pixels that are query pixels; None: images are clean
    )

    @property
    def grids(self) -> list[Grid]:
        return list(self.images)

    def measure(self, x: Tensor, keys: Keys, grid: Grid) -> Measurement:
        """Measure images (B, C, H, W) with operators and noise sampled from `keys`."""
        return measure(self.degradation.sample(keys.child("operator"), grid), x, self.noise, keys.child("noise"))

    def example(
        self, x: Tensor, keys: Keys, grid: Grid, prior: FittedField, exact: Tensor | None = None
    ) -> tuple[Tensor, Measurement, Tensor | None]:
        """Images (B, C, H, W), their measurement, and the pixels (B, 1, H, W) of the loss, None for all that are hidden.

        Images that are not clean are NaN where they are not measured. They are completed by a draw under the prior; the
        measurement shows a part of their measured pixels, and the loss is taken on the others. With noise, the draw differs from
        the measured values, which are put back where `exact` (B,) is true.
        """
        if self.held is None:
            return x, self.measure(x, keys, grid), None
        measured = measurement_of(x, white_sigma(self.noise, "train.clean: false"))
        shown, query_pixels = hold(measured, keys.child("held"), self.held)
        x = complete(measured, prior, keys.child("complete"))
        if exact is not None:
            x = torch.where(exact.view(-1, 1, 1, 1) & (query_pixels > 0), measured.y, x)
        return x, shown, query_pixels


def query(measurement: Measurement, keys: Keys, fraction: float) -> Tensor:
    """A random keyed subset of the pixels, disjoint from the observed: weights (B, 1, H, W) in {0, 1}."""
    if measurement.observed is None:
        raise RecipeError("train.query_fraction needs a mask degradation; leave it out for this one")
    grid = measurement.grid
    observed = measurement.observed.any(1).flatten(1)
    count = round(fraction * grid.pixels)
    rank = keys.permutation("query", grid.pixels).argsort(1)
    order = torch.where(observed, grid.pixels, rank).argsort(1)  # hidden pixels first, in random order
    chosen = torch.zeros_like(observed).scatter_(1, order[:, :count], True) & ~observed
    return chosen.view(-1, 1, *grid.shape).to(measurement.y)
