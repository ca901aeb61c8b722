"""Random brush strokes on the image domain, for masks."""

import math

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys

SEGMENTS = 8  # straight segments of a stroke


def centres(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows (H, 1) and columns (W,) of the cell centres, in units of the shorter side, float64."""
    rows, columns = ((torch.arange(n, device=device, dtype=torch.float64) + 0.5) * grid.cell for n in grid.shape)
    return rows[:, None], columns


def strokes(keys: Keys, grid: Grid, count: int, length: float, width: float, bend: float) -> Tensor:
    """The cells covered by `count` random strokes in each image: (B, H, W) bool, never empty.

    A stroke starts at a uniform point, is `length` long and `width` wide (at least the cells that it crosses) and changes its
    direction `SEGMENTS - 1` times, by `bend` times a normal vector; it is reflected at the image border. All lengths are in
    units of the shorter side, so the same keys give the same strokes on every grid.
    """
    extent = torch.tensor(grid.extent, dtype=torch.float64, device=keys.device)
    rows, columns = centres(grid, keys.device)
    at = keys.uniform("start", count, 2).double() * extent
    heading = keys.normal("heading", count, 2).double()
    turns = keys.normal("turns", SEGMENTS, count, 2).double() * bend
    reach = max(width / 2, grid.cell * math.sqrt(0.5)) ** 2
    covered = torch.zeros(len(keys), *grid.shape, dtype=torch.bool, device=rows.device)
    for segment in range(SEGMENTS):
        heading = heading / heading.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-12)
        to = at + heading * (length / SEGMENTS)
        start, end = (_folded(point, extent) for point in (at, to))
        for stroke in range(count):
            (y, x), (v, u) = (t.view(-1, 2, 1, 1).unbind(1) for t in (start[:, stroke], (end - start)[:, stroke]))
            along = (rows - y) * v + (columns - x) * u
            along = (along / (v * v + u * u).clamp(min=1e-12)).clamp(0, 1)
            covered |= (rows - y - along * v).square() + (columns - x - along * u).square() <= reach
        at, heading = to, heading + turns[:, segment]
    return covered


def _folded(point: Tensor, extent: Tensor) -> Tensor:
    """A point of the plane, reflected into the domain."""
    return extent - (point.remainder(2 * extent) - extent).abs()
