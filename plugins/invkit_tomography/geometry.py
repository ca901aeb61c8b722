"""The parallel-beam geometry and its system matrix: areas of the intersections of square cells and strips."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Grid


@dataclass(frozen=True)
class Geometry:
    """Directions and detector bins; the detector is as long as the diagonal of the image.

    Direction t, measured from the horizontal, integrates over the lines `x cos t + y sin t = s`, with x to the
    right, y up and the origin at the centre.
    """

    grid: Grid
    angles: int
    arc: tuple[float, float]  # degrees: the first direction, and the excluded end
    detectors: float  # bins per cell

    @property
    def bins(self) -> int:
        return max(1, math.ceil(self.diagonal / self.grid.cell * self.detectors - 1e-9))

    @property
    def diagonal(self) -> float:
        return math.hypot(*self.grid.extent)

    @property
    def bin(self) -> float:
        """Width of a bin, relative to the shorter side of the image."""
        return self.diagonal / self.bins

    @property
    def turn(self) -> float:
        """Angle between two directions, in radians."""
        return math.radians(self.arc[1] - self.arc[0]) / self.angles

    @property
    def size(self) -> int:
        """Number of measured values per channel."""
        return self.angles * self.bins


@lru_cache(maxsize=8)
def matrices(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The sparse matrix (CSR) from pixels to values (angle, bin), and its transpose.

    A value is the integral over the strip of a bin divided by its width: the mean of the line integrals over the bin.
    """
    indices, weights = _entries(geometry)
    shape = geometry.size, geometry.grid.pixels
    matrix = torch.sparse_coo_tensor(indices, weights.to(dtype), shape, device=device, check_invariants=True).coalesce()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()


def _entries(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Indices (2, n) and values (n,) float64 of the matrix: area of a cell within a strip, divided by the strip's width."""
    grid, width = geometry.grid, geometry.bin
    height, breadth = grid.extent
    y = height / 2 - (torch.arange(grid.height, dtype=torch.float64) + 0.5) * grid.cell
    x = (torch.arange(grid.width, dtype=torch.float64) + 0.5) * grid.cell - breadth / 2
    angle = math.radians(geometry.arc[0]) + geometry.turn * torch.arange(geometry.angles, dtype=torch.float64)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    position = (cos[..., None] * x + sin[..., None] * y[:, None]).flatten(1)  # (angles, pixels) along the detector
    reach = (cos.abs() + sin.abs()) * grid.cell / 2
    first = ((position - reach + geometry.diagonal / 2) / width).floor()
    touched = math.ceil(float(2 * reach.max()) / width) + 1  # largest number of bins that intersect a cell
    edges = (first[..., None] + torch.arange(touched + 1, dtype=torch.float64)) * width - geometry.diagonal / 2
    covered = _share_below(
        edges - position[..., None], cos.abs()[..., None] * grid.cell, sin.abs()[..., None] * grid.cell
    )
    weight = covered.diff(dim=2) * (grid.area / width)
    bins = first[..., None].long() + torch.arange(touched)
    rows = bins + geometry.bins * torch.arange(geometry.angles)[:, None, None]
    columns = torch.arange(grid.pixels)[:, None].expand_as(rows)
    kept = (weight > 1e-12 * grid.cell) & (bins >= 0) & (bins < geometry.bins)
    return torch.stack([rows[kept], columns[kept]]), weight[kept]


def _share_below(s: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Share of a rectangle's projection below `s`; the projection is a trapezoid, the convolution of boxes of widths `p`, `q`."""
    long, short = torch.maximum(p, q), torch.minimum(p, q)
    box = (s / long + 0.5).clamp(0, 1)
    slanted = short > 1e-6 * long  # otherwise an edge is parallel to the ray, and the projection is a box
    short = torch.where(slanted, short, long)

    def ramp(t: Tensor) -> Tensor:
        return t.clamp(min=0).square() / 2

    a, b = (long + short) / 2, (long - short) / 2
    total = long * short
    trapezoid = (ramp(s + a) - ramp(s + b) - ramp(s - b) + ramp(s - a)) / total
    return torch.where(slanted, torch.where(s >= a, 1.0, trapezoid), box)
