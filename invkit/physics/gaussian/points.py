"""Kriging from points with exact coordinates: the cells that contain them, as a mask measures them.

A field is known at the centres of the cells, and between them by its cosine modes. What lies beyond the band of the grid is not
represented: its variance is added to the noise of the points (the error of representation). The values of the cells are the
posterior mean, or posterior samples, of the field given the points.
"""

from dataclasses import replace

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian.field import Achromatic, GaussianField
from invkit.physics.gaussian.kriging import DENSE_VALUES, NUGGET
from invkit.physics.measurement import Measurement
from invkit.physics.operators.points import PointValues
from invkit.physics.points import binned

ENTRIES = 2**24  # largest number of points times cells of the grid
FINER = 4  # the band beyond that of the grid ends at that of a grid this many times finer


def exact(measurement: Measurement) -> bool:
    """Whether there are few enough points for their exact coordinates; otherwise each belongs to the cell that contains it."""
    count = measurement.y.shape[2]
    return count <= DENSE_VALUES and count * measurement.grid.pixels <= ENTRIES


def unresolved(field: GaussianField, grid: Grid) -> float:
    """Variance of a field in the modes beyond the band of a grid."""
    finer = replace(grid, height=grid.height * FINER, width=grid.width * FINER)
    return max(0.0, field.pixel_std(finer) ** 2 - field.pixel_std(grid) ** 2)


def on_cells(
    prior: GaussianField,
    measurement: Measurement,  # of `PointValues`
    keys: Keys | None = None,
    count: int = 1,
) -> Measurement:
    """The mask of the cells that contain points, with their values given all points.

    They are posterior means (B), or with keys posterior samples (count * B, in the order of `Keys.fork`). Channels are kriged
    separately, as in the initial estimate. With noise, a cell has the mean noise of its points.
    """
    mask = binned(measurement)
    if not exact(measurement):
        return mask if keys is None else mask.repeat(count)
    parts = [
        _cells(prior, measurement[i : i + 1], None if keys is None else keys[i : i + 1], count)
        for i in range(len(measurement))
    ]
    values = torch.stack(parts, 1).flatten(0, 1)  # (count, B, C, H, W)
    mask = mask.repeat(len(values) // len(measurement))
    return replace(mask, y=mask.operator.measured(values.to(mask.y)))


def _cells(prior: GaussianField, measurement: Measurement, keys: Keys | None, count: int) -> Tensor:
    """Values of all cells (count, C, H, W) of one image, float64."""
    grid, operator, sigma = measurement.grid, measurement.operator, measurement.sigma
    assert isinstance(operator, PointValues)
    field, single = Achromatic(prior, grid.channels), replace(grid, channels=1)
    points = operator.matrix[0]  # (N, H * W)
    covariance = field.covariance(points.view(-1, 1, *grid.shape), single).flatten(1)  # of the points with all cells
    detail = max(unresolved(field, single), NUGGET * field.pixel_std(single) ** 2)
    noise = (sigma**2 + detail) * torch.eye(len(points), dtype=points.dtype, device=points.device)
    lower = torch.linalg.cholesky(covariance @ points.T + noise)
    centre = prior.centre(grid, points)  # (C, 1, 1)
    y = measurement.y.to(points) - centre[..., 0]  # (1, C, N)
    u, error = y.new_zeros(1, grid.channels, grid.pixels), torch.zeros_like(y)
    if keys is not None:
        forked = keys.child("points").fork(count)
        draws = [field.sample(forked.child(f"channel/{c}"), single) for c in range(grid.channels)]
        u = torch.cat(draws, 1).flatten(2).to(y)
        error = forked.normal("error", *y.shape[1:]).to(y) * (sigma**2 + detail) ** 0.5
    r = y - u @ points.T - error
    x = u + torch.cholesky_solve(r.flatten(0, 1).T, lower).T.view_as(r) @ covariance  # (count, C, H * W)
    cells = x.view(-1, *grid.picture)
    if sigma > 0:
        own = (y - x @ points.T) * (sigma**2 / (sigma**2 + detail))
        cells = cells + binned(Measurement(operator.repeat(len(own)), own)).y.to(cells)
    return cells + centre
