"""Measurements `y = A x + noise`: from images, or from scattered points."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask

ROUNDING = 1e-6  # of coordinates: float32, or text with six digits


class Noise(Settings):
    """Additive white Gaussian noise of the measurements."""

    sigma: float = Field(
        0.0, ge=0, le=10, description="standard deviation of each measured value; images are in [-1, 1]"
    )


@dataclass(frozen=True, eq=False)
class Measurement:
    """A forward operator and its data `y = A x + noise`: all that a reconstructor is given."""

    operator: LinearOperator
    y: Tensor  # (B, *range_shape)
    sigma: float = 0.0  # standard deviation of each measured value

    @property
    def grid(self) -> Grid:
        return self.operator.grid

    @property
    def observed(self) -> Tensor | None:
        """The mask (B, 1 or C, H, W) where the operator is one, else None."""
        return self.operator.observed if isinstance(self.operator, Mask) else None

    @property
    def exact(self) -> Tensor | None:
        """The pixels that are known exactly (B, 1 or C, H, W): those that a mask observes without noise. Else None."""
        return None if self.sigma > 0 else self.observed

    def __len__(self) -> int:
        return len(self.operator)

    def __getitem__(self, index: slice | Tensor) -> "Measurement":
        return Measurement(self.operator[index], self.y[index], self.sigma)

    def repeat(self, count: int) -> "Measurement":
        return Measurement(self.operator.repeat(count), self.y.repeat(count, *[1] * (self.y.ndim - 1)), self.sigma)

    def to(self, device: torch.device | str) -> "Measurement":
        return Measurement(self.operator.to(device), self.y.to(device), self.sigma)

    def paste(self, x: Tensor) -> Tensor:
        """`x` (..., B, C, H, W) with the exactly known pixels put in."""
        return x if self.exact is None else torch.where(self.exact, self.y, x)


def measure(
    operator: LinearOperator,
    x: Tensor,  # (B, C, H, W)
    noise: Noise,
    keys: Keys,
) -> Measurement:
    """The measurement `y = A x + sigma e` of images, with noise keyed by image."""
    y = operator.forward(x)
    if noise.sigma > 0:
        y = y + noise.sigma * operator.measured(keys.normal("noise", *operator.range_shape))
    return Measurement(operator, y, noise.sigma)


def measure_points(
    coordinates: Tensor,  # (B, N, 2) or (N, 2): (x, y) in [0, 1], x to the right, y downwards
    values: Tensor,  # (B, N, C) or (N, C); images are in [-1, 1]
    grid: Grid,
    sigma: float = 0.0,
) -> Measurement:
    """A mask and its data on a grid from values at scattered points.

    Each point belongs to the cell that contains it (a border between two cells to the later one, the far border of the
    image to the last cell); the values of points in one cell are averaged. `sigma` is the noise of each cell's value.
    Raises ValueError for points outside the square, values that are not finite, or shapes that do not fit.

    >>> m = measure_points(torch.tensor([[0.1, 0.6], [0.2, 0.9]]), torch.tensor([[0.5], [0.1]]), Grid(2, 2, 1))
    >>> m.y[0, 0]
    tensor([[0.0000, 0.0000],
            [0.3000, 0.0000]])
    """
    if coordinates.ndim == 2:
        coordinates, values = coordinates[None], values[None]
    if coordinates.shape[2:] != (2,) or values.shape != (*coordinates.shape[:2], grid.channels):
        raise ValueError(
            f"want coordinates (B, N, 2) and values (B, N, {grid.channels}) with equal B and N, got "
            f"{tuple(coordinates.shape)} and {tuple(values.shape)}"
        )
    outside = ~((coordinates >= 0) & (coordinates <= 1)).all(2)  # also where a coordinate is not a number
    if bool(outside.any()):
        b, n = outside.nonzero()[0].tolist()
        raise ValueError(
            f"{int(outside.sum())} points lie outside the unit square, the first is point {n} of image {b} at "
            f"{tuple(coordinates[b, n].tolist())}; divide pixel coordinates by the width and height of the image"
        )
    if not bool(values.isfinite().all()):
        raise ValueError("some values are not finite; leave those points out")
    size = torch.tensor([grid.width, grid.height], device=coordinates.device)
    place = coordinates.double() * size
    border = place.round()  # a coordinate k/N is rounded, and its product with N may lie below k
    on_border = (place - border).abs() <= ROUNDING * size
    cell = torch.where(on_border, border, place).long().minimum(size - 1)
    index = cell[..., 1] * grid.width + cell[..., 0]  # (B, N)
    count = torch.zeros(len(index), grid.pixels, dtype=torch.float64, device=index.device)
    count.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64))
    total = torch.zeros(len(index), grid.channels, grid.pixels, dtype=torch.float64, device=index.device)
    spread = index[:, None].expand(-1, grid.channels, -1)
    total.scatter_add_(2, spread, values.double().movedim(2, 1))
    y = (total / count.clamp(min=1)[:, None]).view(-1, *grid.picture).float()
    observed = (count > 0).view(-1, 1, *grid.shape)
    return Measurement(Mask(observed, grid.channels), y, sigma)
