"""Gaussian fields on a rectangle: a spectrum in the cosine (Neumann) basis with a colour covariance in every mode.

A field is `m(u) + sum_k a_k phi_k(u)` with orthonormal cosines `phi_k` of the domain and independent Gaussian colour
vectors `a_k`. On a grid, `a_k / cell` is the orthonormal DCT-II coefficient of the picture, so one spectrum serves
every grid.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from pydantic import Field
from torch import Tensor

from invkit.grid import Grid
from invkit.keys import Keys
from invkit.settings import Settings


@lru_cache(maxsize=64)
def _cosines(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Orthonormal DCT-II matrix (mode, cell)."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * k * (i + 0.5)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def dct(x: Tensor) -> Tensor:
    """Orthonormal two-dimensional DCT-II of the last two dimensions."""
    rows, columns = (_cosines(n, x.device, x.dtype) for n in x.shape[-2:])
    return rows @ x @ columns.T


def idct(x: Tensor) -> Tensor:
    """Inverse of `dct`."""
    rows, columns = (_cosines(n, x.device, x.dtype) for n in x.shape[-2:])
    return rows.T @ x @ columns


def frequencies(grid: Grid, device: torch.device | None = None) -> Tensor:
    """Half-cycles per unit length of every mode along both axes, `(2, H, W)` float64."""
    height, width = grid.extent
    axes = [
        torch.arange(n, dtype=torch.float64, device=device) / e
        for n, e in zip(grid.shape, (height, width), strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _shells(grid: Grid) -> Tensor:
    """A number for every mode (H, W) that does not depend on the grid: square shells around mode zero."""
    k, l = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    shell = torch.maximum(k, l)
    return shell**2 + torch.where(k == shell, l, shell + 1 + k)


class GaussianField(ABC):
    """A Gaussian law of pictures. Subclasses state the spectrum; every computation is here."""

    @abstractmethod
    def spectrum(self, grid: Grid) -> Tensor:
        """Colour covariance of the L2 coefficient of every mode: (C, C, H, W) float64."""

    @abstractmethod
    def mean(self, grid: Grid) -> Tensor:
        """Mean colour (C,) float64."""

    def power(self, grid: Grid, like: Tensor) -> Tensor:
        """Colour covariance of the orthonormal DCT coefficients (C, C, H, W), on the device and type of `like`."""
        return _power(self, grid, like.device, like.dtype)

    def centre(self, grid: Grid, like: Tensor) -> Tensor:
        """The mean picture (C, 1, 1)."""
        return self.mean(grid).to(like.device, like.dtype).view(-1, 1, 1)

    def covariance(self, x: Tensor, grid: Grid) -> Tensor:
        """`C x` for pictures (..., C, H, W): the covariance matrix of the pixels applied to them."""
        return idct(torch.einsum("cdhw,...dhw->...chw", self.power(grid, x), dct(x)))

    def root(self, z: Tensor, grid: Grid) -> Tensor:
        """`R z` with `R R^T = C` for mode amplitudes z (..., C, H, W): a picture."""
        return idct(torch.einsum("cdhw,...dhw->...chw", _factor(self, grid, z.device, z.dtype), z))

    def sample(self, keys: Keys, grid: Grid, label: str = "field") -> Tensor:
        """Draw pictures (B, C, H, W). One draw per mode: on a finer grid the same keys give the same draw, refined."""
        order = _shells(grid).to(keys.state.device)
        count = int(order.max()) + 1
        z = torch.stack([keys.normal(f"{label}/{c}", count)[:, order] for c in range(grid.channels)], 1)
        return self.root(z, grid) + self.centre(grid, z)

    def deviation(self, grid: Grid) -> float:
        """Root mean square of a pixel about the mean."""
        return math.sqrt(float(self.spectrum(grid).diagonal().mean()) / grid.area)


@lru_cache(maxsize=32)
def _power(field: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    return (field.spectrum(grid) / grid.area).to(device, dtype)


@lru_cache(maxsize=32)
def _factor(field: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    power = (field.spectrum(grid) / grid.area).cpu().permute(2, 3, 0, 1)
    values, vectors = torch.linalg.eigh(power)  # a symmetric root; tolerates modes without power
    root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2) @ vectors.mT
    return root.permute(2, 3, 0, 1).contiguous().to(device, dtype)


def _identity(channels: int) -> Tensor:
    return torch.eye(channels, dtype=torch.float64)[:, :, None, None]


class WhiteField(GaussianField, Settings):
    """White noise: the same power in every mode, that of unit pixels on the reference grid.

    It means the same on every grid; its pixel deviation grows with the grid (it is not trace-class).
    """

    std: float = Field(1.0, gt=0, description="pixel deviation on the reference grid")
    reference: int = Field(32, ge=1, description="cells along the shorter side of the reference grid")

    def spectrum(self, grid: Grid) -> Tensor:
        return _identity(grid.channels).expand(-1, -1, *grid.shape) * (self.std / self.reference) ** 2

    def mean(self, grid: Grid) -> Tensor:
        return torch.zeros(grid.channels, dtype=torch.float64)


class MaternField(GaussianField, Settings):
    """Matern-like noise `C = s (tau^2 - Laplace)^-a`, trace-class for a > 1 (Whittle 1954; Lindgren, Rue & Lindstrom 2011, eq. 2).

    `s` is such that far from the border a point has deviation `std`; `tau = sqrt(2 (a - 1)) / length`.
    """

    std: float = Field(1.0, gt=0, description="deviation of a point far from the border")
    length: float = Field(0.2, gt=0, le=10, description="correlation length, in shares of the shorter side")
    exponent: float = Field(2.0, gt=1, le=8, description="exponent a of the operator; trace-class for a > 1")
    color: float = Field(0.0, ge=0, lt=1, description="correlation between two channels")

    def spectrum(self, grid: Grid) -> Tensor:
        a, tau2 = self.exponent, 2 * (self.exponent - 1) / self.length**2
        laplace = (math.pi * frequencies(grid)).square().sum(0)
        scale = self.std**2 * 4 * math.pi * (a - 1) * tau2 ** (a - 1)
        mix = (1 - self.color) * _identity(grid.channels) + self.color
        return mix * scale * (tau2 + laplace) ** -a

    def mean(self, grid: Grid) -> Tensor:
        return torch.zeros(grid.channels, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class FittedField(GaussianField):
    """A field fitted to pictures: the second moments of their modes, a colour covariance in each."""

    modes: Tensor  # (C, C, H, W) float64: spectrum on the grid of the fit
    color: Tensor  # (C,) float64: mean colour
    slope: float  # power beyond the fitted band falls as |k|^-slope

    @classmethod
    def fit(cls, x: Tensor, grid: Grid) -> "FittedField":
        """Fit to pictures (N, C, H, W) on `grid`; the estimate of each mode leans on its octave where N is small."""
        color = x.mean((0, 2, 3), dtype=torch.float64)
        total = torch.zeros(grid.channels, grid.channels, *grid.shape, dtype=torch.float64)
        for part in x.split(256):
            a = dct(part.double() - color.view(-1, 1, 1)) * grid.cell
            total += torch.einsum("bchw,bdhw->cdhw", a, a)
        modes = total / len(x) + 1e-9 * grid.area * _identity(grid.channels)
        radius = frequencies(grid).norm(dim=0)
        outer = radius > radius.max() / 3
        log_power = torch.einsum("cchw->hw", modes)[outer].log()
        log_radius = radius[outer].log()
        slope = -torch.cov(torch.stack([log_radius, log_power]))[0, 1] / log_radius.var()
        return cls(modes, color, float(slope.clamp(2, 6)))

    def spectrum(self, grid: Grid) -> Tensor:
        own = Grid(self.modes.shape[2], self.modes.shape[3], grid.channels)
        if own == grid:
            return self.modes
        wanted = frequencies(grid, self.modes.device)
        limit = torch.tensor([(n - 1) / e for n, e in zip(own.shape, own.extent, strict=True)], device=wanted.device)
        inside = torch.minimum(wanted, limit.view(2, 1, 1).to(wanted))
        place = (2 * inside / limit.view(2, 1, 1) - 1).flip(0).permute(1, 2, 0)[None]
        table = self.modes.flatten(0, 1)[None]
        values = torch.nn.functional.grid_sample(table, place.to(table), align_corners=True)[0]
        beyond = (wanted.norm(dim=0) / inside.norm(dim=0).clamp(min=1e-9)).clamp(min=1)
        return values.view(*self.modes.shape[:2], *grid.shape) * beyond**-self.slope

    def mean(self, grid: Grid) -> Tensor:
        return self.color
