"""Sampling patterns: lines, a checkerboard, half the image, freehand strokes."""

from typing import Literal

import torch

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask, strokes


class Lines(Degradation):
    """Observe every `stride`-th row or column.

    `y = M x`: M is 1 on these lines and 0 elsewhere.
    """

    stride: int = Field(2, ge=1, description="distance between two observed lines")
    along: Literal["rows", "columns"] = Field("rows", description="whether lines are rows or columns")
    offset: int | Literal["random"] = Field(
        0,
        description="index of the first observed line, modulo the stride; or random, drawn for each image",
    )

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        axis = ("rows", "columns").index(self.along)
        lines, stride = grid.shape[axis], min(self.stride, grid.shape[axis])  # so that no mask is empty
        if self.offset == "random":
            first = keys.integers("offset", stride, 1)
        else:
            first = torch.tensor(self.offset % stride, device=keys.device).expand(len(keys), 1)
        observed = torch.arange(lines, device=first.device) % stride == first  # (B, lines)
        observed = observed[:, :, None] if axis == 0 else observed[:, None]
        return Mask(observed.expand(-1, *grid.shape)[:, None], grid.channels)


class Checkerboard(Degradation):
    """Observe every second pixel, in a checkerboard pattern.

    `y = M x`: `M(i, j)` is 1 where i + j is even, or odd.
    """

    first: Literal["seen", "hidden", "random"] = Field(
        "seen", description="whether the upper left pixel is observed (seen) or hidden; or random, drawn for each image"
    )

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        rows, columns = (torch.arange(n, device=keys.device) for n in grid.shape)
        odd = (rows[:, None] + columns) % 2
        if self.first == "random":
            parity = keys.integers("first", 2, 1, 1)
        else:
            parity = torch.tensor(int(self.first == "hidden"), device=odd.device).expand(len(keys), 1, 1)
        return Mask((odd == parity)[:, None], grid.channels)


class HalfImage(Degradation):
    """Observe one half of the image, including the middle line if their number is odd.

    `y = M x`: M is 1 on the `side` and 0 elsewhere.
    """

    side: Literal["left", "right", "top", "bottom", "random"] = Field(
        "left", description="the observed half; or random, drawn for each image"
    )

    @property
    def resolution_law(self) -> float:
        return 1e-5  # for an even number of cells

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        device = keys.device
        rows, columns = (torch.arange(n, device=device) < (n + 1) // 2 for n in grid.shape)
        top, left = rows[:, None].expand(grid.shape), columns.expand(grid.shape)
        halves = torch.stack([left, left.flip(1), top, top.flip(0)])
        if self.side == "random":
            chosen = keys.integers("side", 4, 1).view(-1)
        else:
            names = ("left", "right", "top", "bottom")
            chosen = torch.tensor(names.index(self.side), device=device).expand(len(keys))
        return Mask(halves[chosen][:, None], grid.channels)


class StrokePixels(Degradation):
    """Observe the pixels along freehand strokes, drawn for each image.

    `y = M x`: M is 1 on the strokes and 0 elsewhere.
    """

    count: int = Field(8, ge=1, le=64, description="number of strokes")
    length: float = Field(1.0, gt=0, le=10, description="length of a stroke, relative to the shorter side")
    width: float = Field(0.04, gt=0, le=0.5, description="width of a stroke, relative to the shorter side")
    bend: float = Field(0.7, ge=0, le=10, description="how sharply strokes turn; 0 for straight lines")

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(strokes(keys, grid, self.count, self.length, self.width, self.bend)[:, None], grid.channels)
