"""Measurements of values at scattered points."""

import warnings

import torch
from torch import Tensor

from invkit.core.arrays import as_tensor
from invkit.core.grid import Grid, as_grid
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.points import PointValues

FEW, COVERED = (
    12,
    0.55,
)  # of 12 uniform points, one set in 60 covers a smaller share of an axis; of 30, one in a million
ROUNDING = 1e-6  # of coordinates: float32, or text with six digits


def partial_cover(
    coordinates: Tensor,  # (..., 2)
) -> str | None:
    """One line about points that lie in about half of the domain only, or None; fewer than `FEW` points need not fill it.

    >>> square = torch.rand(50, 2, dtype=torch.float64)
    >>> partial_cover(square), partial_cover(square * torch.tensor([1, 0.5])) is None
    (None, False)
    """
    points = coordinates.reshape(-1, 2)
    if len(points) < FEW or bool(((points.amax(0) - points.amin(0)) > COVERED).all()):
        return None
    (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
    return (
        f"the points lie in x {left:.2g} to {right:.2g} and y {top:.2g} to {bottom:.2g} only; x is divided by the width and y by "
        "the height of the image, so that on a rectangle, too, both go from 0 to 1"
    )


def measure_points(
    coordinates: object,  # (B, N, 2) or (N, 2): (x, y) in [0, 1], shares of the width (to the right) and of the height (downwards)
    values: object,  # (B, N, C) or (N, C); images are in [-1, 1]
    grid: Grid | int | tuple[int, int],
    sigma: float = 0.0,
) -> Measurement:
    """Values at scattered points, at their exact coordinates: see `PointValues`.

    `grid` is that of the reconstruction: a `Grid`, a number for a square, or height and width. `sigma` is the noise of each value.
    Raises ValueError for points outside the unit square, values that are not finite, or shapes that do not fit; warns if the
    points lie in about half of the domain only.

    >>> m = measure_points([[0.5, 0.5], [0.4, 0.5]], [[0.3], [0.1]], Grid(1, 2, 1))
    >>> m.operator.forward(torch.tensor([[[[0.0, 1.0]]]]))  # 0.5 - cos(0.4 pi) / sqrt 2 at x = 0.4
    tensor([[[0.5000, 0.2815]]])
    """
    coordinates, values = as_tensor(coordinates, "coordinates"), as_tensor(values, "values")
    grid = as_grid(grid, values.shape[-1] if values.ndim else 1)
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
    if note := partial_cover(coordinates):
        warnings.warn(note, stacklevel=2)
    return Measurement(PointValues(grid, coordinates.double()), values.movedim(2, 1).float(), sigma)


def binned(measurement: Measurement) -> Measurement:
    """A measurement of points on the cells that contain them, see `bin_points`; any other as it is."""
    if not isinstance(measurement.operator, PointValues):
        return measurement
    at, y = measurement.operator.coordinates, measurement.y
    return bin_points(at, y.movedim(1, 2), measurement.grid, measurement.sigma)


def bin_points(
    coordinates: Tensor,  # (B, N, 2)
    values: Tensor,  # (B, N, C)
    grid: Grid,
    sigma: float,
) -> Measurement:
    """A mask and its data on a grid: the cells that contain points, with the means of their values.

    A border between two cells belongs to the later one, the far border of the image to the last cell. `sigma` is the noise of each
    cell's value.

    >>> at, values = torch.tensor([[[0.1, 0.6], [0.2, 0.9]]]), torch.tensor([[[0.5], [0.1]]])
    >>> bin_points(at, values, Grid(2, 2, 1), 0.0).y[0, 0]
    tensor([[0.0000, 0.0000],
            [0.3000, 0.0000]])
    """
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
