"""Measurements given as points: coordinates in the unit square and the values seen there."""

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.degradation import Measurement
from invkit.physics.operators.base import Mask


def measure_points(
    coordinates: Tensor,  # (B, N, 2) or (N, 2): (x, y) in [0, 1], x to the right, y downwards
    values: Tensor,  # (B, N, C) or (N, C), in [-1, 1] units
    grid: Grid,
    sigma: float = 0.0,
) -> Measurement:
    """Turn scattered measurements into an operator and its `y` on a grid.

    A point falls to the cell that holds it (a border between two cells belongs to the later one, the far border of the
    picture to the last cell); the values of points in one cell are averaged. `sigma` is the noise of each cell's value.
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
            f"{int(outside.sum())} points lie outside the unit square, the first is point {n} of picture {b} at "
            f"{tuple(coordinates[b, n].tolist())}; divide pixel coordinates by the picture's width and height"
        )
    if not bool(values.isfinite().all()):
        raise ValueError("some values are not finite; leave those points out")
    size = torch.tensor([grid.width, grid.height], device=coordinates.device)
    cell = (coordinates * size).long().minimum(size - 1)
    place = cell[..., 1] * grid.width + cell[..., 0]  # (B, N)
    count = torch.zeros(len(place), grid.pixels, dtype=torch.float64, device=place.device)
    count.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float64))
    total = torch.zeros(len(place), grid.channels, grid.pixels, dtype=torch.float64, device=place.device)
    spread = place[:, None].expand(-1, grid.channels, -1)
    total.scatter_add_(2, spread, values.double().movedim(2, 1))
    y = (total / count.clamp(min=1)[:, None]).view(-1, *grid.picture).float()
    observed = (count > 0).view(-1, 1, *grid.shape)
    return Measurement(Mask(observed, grid.channels), y, sigma)
