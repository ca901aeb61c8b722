"""The parallel-beam geometry and its matrix: shares of square cells in strips."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Grid


@dataclass(frozen=True)
class Geometry:
    """Directions and detector bins around a picture; the detector is as long as the picture's diagonal.

    The direction t (from the horizontal) collects `x cos t + y sin t = s`, with x to the right, y up, the centre at zero.
    """

    grid: Grid
    angles: int
    arc: tuple[float, float]  # degrees: the first direction, and the end
    detectors: float  # bins per cell

    @property
    def bins(self) -> int:
        return max(1, math.ceil(self.diagonal / self.grid.cell * self.detectors - 1e-9))

    @property
    def diagonal(self) -> float:
        return math.hypot(*self.grid.extent)

    @property
    def bin(self) -> float:
        """Width of a bin, in shares of the shorter side."""
        return self.diagonal / self.bins

    @property
    def turn(self) -> float:
        """Angle between two directions, in radians."""
        return math.radians(self.arc[1] - self.arc[0]) / self.angles

    @property
    def size(self) -> int:
        """Number of measured values for each channel."""
        return self.angles * self.bins


@lru_cache(maxsize=8)
def matrices(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The matrix from pixels to values (angle, bin), sparse by rows, and its transpose.

    A value is the integral over the strip of a bin divided by its width: the mean over the bin of the line integrals.
    """
    indices, weights = _entries(geometry)
    shape = geometry.size, geometry.grid.pixels
    matrix = torch.sparse_coo_tensor(indices, weights.to(dtype), shape, device=device, check_invariants=True).coalesce()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()


def _entries(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Places (2, n) and values (n,) float64: the area of a cell within a strip, over the width of the strip."""
    grid, width = geometry.grid, geometry.bin
    height, breadth = grid.extent
    y = height / 2 - (torch.arange(grid.height, dtype=torch.float64) + 0.5) * grid.cell
    x = (torch.arange(grid.width, dtype=torch.float64) + 0.5) * grid.cell - breadth / 2
    angle = math.radians(geometry.arc[0]) + geometry.turn * torch.arange(geometry.angles, dtype=torch.float64)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    place = (cos[..., None] * x + sin[..., None] * y[:, None]).flatten(1)  # (angles, pixels) along the detector
    reach = (cos.abs() + sin.abs()) * grid.cell / 2
    first = ((place - reach + geometry.diagonal / 2) / width).floor()
    most = math.ceil(float(2 * reach.max()) / width) + 1  # bins that a cell can touch
    edges = (first[..., None] + torch.arange(most + 1, dtype=torch.float64)) * width - geometry.diagonal / 2
    covered = _below(edges - place[..., None], cos.abs()[..., None] * grid.cell, sin.abs()[..., None] * grid.cell)
    share = covered.diff(dim=2) * (grid.area / width)
    bins = first[..., None].long() + torch.arange(most)
    rows = bins + geometry.bins * torch.arange(geometry.angles)[:, None, None]
    columns = torch.arange(grid.pixels)[:, None].expand_as(rows)
    kept = (share > 1e-12 * grid.cell) & (bins >= 0) & (bins < geometry.bins)
    return torch.stack([rows[kept], columns[kept]]), share[kept]


def _below(s: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The share of a rectangle's shadow, a trapezoid from boxes of widths `p` and `q`, that lies below `s`."""
    long, short = torch.maximum(p, q), torch.minimum(p, q)
    box = (s / long + 0.5).clamp(0, 1)
    slanted = short > 1e-6 * long  # else an edge lies along the ray and casts no shadow
    short = torch.where(slanted, short, long)

    def ramp(t: Tensor) -> Tensor:
        return t.clamp(min=0).square() / 2

    a, b = (long + short) / 2, (long - short) / 2
    total = long * short
    trapezoid = (ramp(s + a) - ramp(s + b) - ramp(s - b) + ramp(s - a)) / total
    return torch.where(slanted, torch.where(s >= a, 1.0, trapezoid), box)
