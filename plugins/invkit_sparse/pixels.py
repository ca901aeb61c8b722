"""Sampling of single pixels: at random, on a lattice or around the centre."""

import math
from typing import Literal, Self

import torch
from pydantic import field_validator, model_validator

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask


def _ranked(score: torch.Tensor, count: int, grid: Grid, batch: int) -> Mask:
    """The mask, the same for all images, of the `count` cells of lowest score (H * W,); ties in reading order."""
    chosen = torch.zeros(grid.pixels, dtype=torch.bool, device=score.device)
    chosen[score.argsort(stable=True)[:count]] = True
    return Mask(chosen.view(1, 1, *grid.shape).expand(batch, -1, -1, -1), grid.channels, (count, count))


class RandomPixels(Degradation):
    """Observe a share of the pixels, of exact count, chosen at random without replacement.

    `y = M x`: M is 1 at `fraction` of the pixels and 0 elsewhere.
    """

    fraction: float | tuple[float, float] = Field(
        0.1, description="share of observed pixels, in (0, 1]; or [low, high], drawn uniformly for each image"
    )
    sensors: int | None = Field(
        None,
        ge=1,
        description="choose the pixels from a lattice with this many points along the shorter side, the same on every grid",
    )

    @field_validator("fraction")
    @classmethod
    def _shares(cls, fraction: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = fraction if isinstance(fraction, tuple) else (fraction, fraction)
        if not 0 < low <= high <= 1:
            raise ValueError("should lie in (0, 1], the lower bound first")
        return fraction

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest share."""
        return self.fraction if isinstance(self.fraction, tuple) else (self.fraction, self.fraction)

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        lattice = grid if self.sensors is None else self._lattice(grid)
        low, high = self.range
        share = low + (high - low) * keys.uniform("share").double()
        count = (share * lattice.pixels).round().clamp(min=1)
        order = keys.permutation("pixels", lattice.pixels)
        observed = (order < count[:, None]).view(-1, 1, *lattice.shape)
        if lattice != grid:
            fine = torch.zeros(len(keys), 1, *grid.shape, dtype=torch.bool, device=observed.device)
            rows, columns = (
                ((torch.arange(n, device=observed.device) + 0.5) * m / n).long()
                for n, m in zip(lattice.shape, grid.shape, strict=True)
            )
            fine[:, :, rows[:, None], columns] = observed
            observed = fine
        return Mask(observed, grid.channels, (self._count(low, lattice), self._count(high, lattice)))

    @staticmethod
    def _count(share: float, lattice: Grid) -> int:
        return max(1, round(share * lattice.pixels))

    def _lattice(self, grid: Grid) -> Grid:
        assert self.sensors is not None
        height, width = (round(self.sensors * e) for e in grid.extent)
        if height > grid.height or width > grid.width:
            raise ValueError(
                f"a lattice of {height}x{width} sensors does not fit a grid of {grid}; use fewer sensors or a finer grid"
            )
        return Grid(height, width, grid.channels)


class GridPixels(Degradation):
    """Observe every `stride`-th pixel along both axes.

    `y = M x`: M is 1 in every `stride`-th row and column, and 0 elsewhere.
    """

    stride: int = Field(3, ge=1, description="distance between two observed pixels")
    offset: tuple[int, int] | Literal["random"] = Field(
        (0, 0),
        description="row and column of the first observed pixel, below the stride; or random, drawn for each image",
    )

    @model_validator(mode="after")
    def _offset(self) -> Self:
        if self.offset != "random" and not all(0 <= o < self.stride for o in self.offset):
            raise ValueError(f"offset should lie in [0, {self.stride}) on both axes, got {self.offset}")
        return self

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        if self.offset == "random":  # below the size of the grid too, so that no mask is empty
            draws = (
                keys.integers(axis, min(self.stride, n)) for axis, n in zip(("row", "column"), grid.shape, strict=True)
            )
            first = torch.stack([draw.view(-1) for draw in draws], 1)
        elif self.offset[0] >= grid.height or self.offset[1] >= grid.width:
            raise ValueError(f"the offset {self.offset} lies outside a grid of {grid}")
        else:
            first = torch.tensor(self.offset, device=keys.device).expand(len(keys), 2)
        rows, columns = (
            torch.arange(n, device=first.device) % self.stride == first[:, axis, None]
            for axis, n in enumerate(grid.shape)
        )
        return Mask((rows[:, :, None] & columns[:, None]).unsqueeze(1), grid.channels)


class CenterPixels(Degradation):
    """Observe the pixels nearest the centre: a disc of exact count or share, or a square block.

    `y = M x`: M is 1 in the disc or block and 0 elsewhere.
    """

    n: int | None = Field(
        None,
        ge=1,
        description="number of pixels nearest the centre (exact on any grid; ties in reading order)",
    )
    fraction: float | None = Field(None, gt=0, le=1, description="share of the pixels nearest the centre")
    block: float | None = Field(
        None, gt=0, le=1, description="side of a central square block, relative to the shorter side"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.n, self.fraction, self.block)) != 1:
            raise ValueError("give exactly one of n, fraction and block")
        return self

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        device = keys.device
        y, x = (
            torch.arange(m, device=device) * 2 - (m - 1) for m in grid.shape
        )  # twice the coordinates: exact integers
        if self.block is not None:
            side = max(1, round(self.block * min(grid.shape)))
            rows, columns = (self._middle(m, side, device) for m in grid.shape)
            return Mask((rows[:, None] & columns).expand(len(keys), 1, -1, -1), grid.channels)
        count = self.n if self.n is not None else max(1, round((self.fraction or 0) * grid.pixels))
        if count > grid.pixels:
            raise ValueError(f"n = {count} pixels do not fit a grid of {grid} ({grid.pixels} pixels)")
        return _ranked((y[:, None] ** 2 + x**2).flatten(), count, grid, len(keys))

    @staticmethod
    def _middle(m: int, side: int, device: torch.device) -> torch.Tensor:
        first = math.ceil((m - side) / 2)
        place = torch.arange(m, device=device)
        return (place >= first) & (place < first + side)
