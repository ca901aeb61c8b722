"""Gaussian fields on a rectangle: a spectrum in an orthonormal basis, with a colour covariance for each mode.

A field is `m(u) + sum_k a_k phi_k(u)` with the orthonormal cosines (or, on a torus, the Fourier basis) `phi_k` of the domain
and independent Gaussian colour vectors `a_k`. On a grid, `a_k / cell` is the orthonormal transform of the image, so the same
spectrum applies to every grid. The covariance operator `C` has the spectrum as its eigenvalues in L2 of the domain; the
covariance matrix of the pixels is `C / cell area`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.core.device import send
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian.basis import Basis, dct, idct, waves

DENSE_ENTRIES = 2**24  # up to so many covariances are stored for a grid; for more, they are computed when needed


class GaussianField(ABC):
    """A Gaussian field. Subclasses define the spectrum; all computations are here.

    With `margin(grid) > 0` the modes are those of a larger domain, in the centre of which the image lies.
    """

    basis: Basis

    @abstractmethod
    def spectrum(self, grid: Grid) -> Tensor:
        """Colour covariance of the L2 coefficient of each mode: (C, C, H, W) float64, with the margin."""

    @abstractmethod
    def mean(self, grid: Grid) -> Tensor:
        """Mean colour (C,) float64."""

    @property
    def correlated(self) -> bool:
        """Whether values at different points are correlated."""
        return True

    def margin(self, grid: Grid) -> int:
        """Cells by which the field's domain extends beyond the image on each side."""
        return 0

    def centre(self, grid: Grid, like: Tensor) -> Tensor:
        """The mean image (C, 1, 1)."""
        return self.mean(grid).to(like.device, like.dtype).view(-1, 1, 1)

    def covariance(self, x: Tensor, grid: Grid) -> Tensor:
        """The covariance matrix of the pixels applied to images (..., C, H, W)."""
        return self._apply(_power(self, grid, 1.0, 0.0, x.device, x.dtype), x, grid) / grid.area

    def operator(self, x: Tensor, grid: Grid, exponent: float, floor: float = 0.0) -> Tensor:
        """`C^exponent x` in L2 for images (..., C, H, W); eigenvalues are at least `floor` times the largest.

        Without a floor, a negative exponent overflows for a smooth field, whose smallest eigenvalues are below rounding error.
        """
        return self._apply(_power(self, grid, exponent, floor, x.device, x.dtype), x, grid)

    def root(self, z: Tensor, grid: Grid) -> Tensor:
        """`R z` on the image, without the mean; `R R^T` is the covariance of the pixels.

        The modes z (..., C, H, W) are those of the image with its margin.
        """
        factor = _power(self, grid, 0.5, 0.0, z.device, z.dtype)
        return self._crop(idct(torch.einsum("cdhw,...dhw->...chw", factor, z), self.basis), grid) / grid.cell

    def root_adjoint(self, x: Tensor, grid: Grid) -> Tensor:
        """`R^T x` for images (..., C, H, W): modes, with the margin."""
        m, factor = self.margin(grid), _power(self, grid, 0.5, 0.0, x.device, x.dtype)
        modes = dct(F.pad(x, (m, m, m, m)) if m else x, self.basis)
        return torch.einsum("cdhw,...dhw->...chw", factor, modes) / grid.cell  # the factors are symmetric

    def sample(self, keys: Keys, grid: Grid, label: str = "field") -> Tensor:
        """Samples (B, C, H, W). Modes are keyed: on a finer grid the same keys give the same sample, with finer modes added."""
        margin = self.margin(grid)
        order, count = _order(grid.height + 2 * margin, grid.width + 2 * margin, keys.device)
        z = keys.normals([f"{label}/{c}" for c in range(grid.channels)], count)[:, :, order]
        return self.root(z, grid) + self.centre(grid, z)

    def pixel_std(self, grid: Grid) -> float:
        """Standard deviation of a pixel, as a root mean square over the field's domain."""
        return _sizes(self, grid)[0]

    def largest_power(self, grid: Grid) -> float:
        """Largest eigenvalue of the covariance matrix of the pixels, at most: that of the field's domain."""
        return _sizes(self, grid)[1]

    def variance(self, grid: Grid) -> Tensor:
        """Pointwise variance of a pixel (C, H, W) float64: constant on a torus, larger at the borders in the cosine basis."""
        power = self.spectrum(grid).cpu().diagonal().movedim(-1, 0) / grid.area
        rows, columns = (waves(n, self.basis, power.device, power.dtype).square() for n in power.shape[-2:])
        return self._crop(rows.T @ power @ columns, grid)

    def trace(self, grid: Grid) -> float:
        """Sum of the eigenvalues on the grid, over all channels: bounded under refinement for trace-class fields."""
        return float(self.spectrum(grid).diagonal().sum())

    def gram(self, grid: Grid, points: Tensor, like: Tensor, others: Tensor | None = None) -> Tensor:
        """Covariance of the values at pixels (B, n), row-major indices, with those at others (B, m), or with themselves.

        The result is (B, n * C, m * C).
        """
        others = points if others is None else others
        if (grid.channels * grid.pixels) ** 2 <= DENSE_ENTRIES:
            table = _covariances(self, grid, like.device, like.dtype).flatten(3)
            found = table[points[:, :, None], :, :, others[:, None]]  # (B, n, m, C, C)
            return found.transpose(2, 3).flatten(1, 2).flatten(2)
        table, margin, wide = _lags(self, grid, like.device, like.dtype), self.margin(grid), grid.width
        first, second = ((p // wide + margin, p % wide + margin) for p in (points, others))
        sides = [n + 2 * margin for n in grid.shape]
        lags = []
        for p, q, n in zip(first, second, sides, strict=True):
            apart = (p[:, :, None] - q[:, None]).abs()
            lags.append([apart, p[:, :, None] + q[:, None] + 1] if self.basis == "cosine" else [apart % n])
        total: Tensor | float = 0.0
        for row in lags[0]:
            for column in lags[1]:
                total = total + table[(row * 2 * sides[1] + column).view(-1)]
        (b, n), m, c = points.shape, others.shape[1], grid.channels
        assert isinstance(total, Tensor)
        return total.view(b, n, m, c, c).transpose(2, 3).reshape(b, n * c, m * c)

    def columns(self, grid: Grid, points: Tensor, like: Tensor) -> Tensor:
        """Covariance of the values at pixels (B, n) with all others: (B, n, C, C, H, W), the channel at the pixel first."""
        if (grid.channels * grid.pixels) ** 2 <= DENSE_ENTRIES:
            return _covariances(self, grid, like.device, like.dtype)[points]
        return self._columns(grid, points, like)

    def _columns(self, grid: Grid, points: Tensor, like: Tensor) -> Tensor:
        m, power = self.margin(grid), _power(self, grid, 1.0, 0.0, like.device, like.dtype) / grid.area
        rows, columns = (waves(n, self.basis, like.device, like.dtype) for n in power.shape[-2:])
        row, column = rows.T[points // grid.width + m], columns.T[points % grid.width + m]  # (B, n, modes)
        modes = torch.einsum("bnh,bnw,cdhw->bncdhw", row, column, power)
        return self._crop(rows.T @ modes @ columns, grid)

    def _apply(self, factor: Tensor, x: Tensor, grid: Grid) -> Tensor:
        m = self.margin(grid)
        modes = dct(F.pad(x, (m, m, m, m)) if m else x, self.basis)
        return self._crop(idct(torch.einsum("cdhw,...dhw->...chw", factor, modes), self.basis), grid)

    def _crop(self, x: Tensor, grid: Grid) -> Tensor:
        m = self.margin(grid)
        return x[..., m : m + grid.height, m : m + grid.width]


@dataclass(frozen=True)
class Achromatic(GaussianField):
    """A field of one channel, with the mean spectrum of the channels of another field."""

    field: GaussianField
    channels: int  # of that field

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        return self.field.basis

    def spectrum(self, grid: Grid) -> Tensor:
        return self.field.spectrum(replace(grid, channels=self.channels)).diagonal().mean(-1)[None, None]

    def mean(self, grid: Grid) -> Tensor:
        return self.field.mean(replace(grid, channels=self.channels)).mean()[None]

    def margin(self, grid: Grid) -> int:
        return self.field.margin(grid)


def inner(x: Tensor, y: Tensor, grid: Grid) -> Tensor:
    """L2 inner product of images (..., C, H, W) over the domain: (...).

    >>> float(inner(torch.ones(1, 8, 8), torch.ones(1, 8, 8), Grid(8, 8, 1)))
    1.0
    """
    return (x * y).sum((-3, -2, -1)) * grid.area


def shells(height: int, width: int) -> Tensor:
    """A number for each mode (H, W), the same on every grid: counted along square shells around mode zero."""
    k, l = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shell = torch.maximum(k, l)
    return shell**2 + torch.where(k == shell, l, shell + 1 + k)


@lru_cache(maxsize=64)
def _sizes(field: GaussianField, grid: Grid) -> tuple[float, float]:
    """Standard deviation of a pixel, as a root mean square, and the largest eigenvalue of the covariance of the pixels."""
    power = field.spectrum(grid).cpu() / grid.area
    largest = torch.linalg.eigvalsh(power.permute(2, 3, 0, 1)).max()
    return math.sqrt(float(power.diagonal().mean())), float(largest)


@lru_cache(maxsize=64)
def _order(height: int, width: int, device: torch.device) -> tuple[Tensor, int]:
    """`shells` on a device, and how many numbers it refers to."""
    order = shells(height, width)
    return send(order, device), int(order.max()) + 1


@lru_cache(maxsize=64)
def _power(
    field: GaussianField, grid: Grid, exponent: float, floor: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Symmetric powers of the colour covariances of the spectrum, (C, C, H, W)."""
    spectrum = field.spectrum(grid).cpu()
    if exponent != 1 or floor:
        values, vectors = torch.linalg.eigh(spectrum.permute(2, 3, 0, 1))
        values = values.clamp(min=max(0.0, floor * float(values.max())))  # modes of zero power are allowed
        spectrum = (vectors * values.pow(exponent).unsqueeze(-2) @ vectors.mT).permute(2, 3, 0, 1)
    return spectrum.contiguous().to(device, dtype)


@lru_cache(maxsize=8)
def _covariances(field: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Covariance of the values at each pixel with all: (H * W, C, C, H, W)."""
    exact = torch.empty(0, dtype=torch.float64)
    return field._columns(grid, torch.arange(grid.pixels)[None], exact)[0].to(device, dtype)


@lru_cache(maxsize=16)
def _lags(field: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Covariance by lag, (2H * 2W, C * C). In the cosine basis, that of two pixels is a sum over both signs along both axes."""
    power = field.spectrum(grid).cpu() / grid.area
    for axis in (2, 3):
        n = power.shape[axis]
        k, lag = torch.arange(n, dtype=torch.float64), torch.arange(2 * n, dtype=torch.float64)
        cosine = field.basis == "cosine"
        table = torch.cos(torch.pi / n * lag[:, None] * (k if cosine else 2 * ((k + 1) // 2))) / n
        if cosine:
            table[:, 0] /= 2
        elif n % 2 == 0:
            table[:, -1] = torch.cos(torch.pi * lag) / n
        power = torch.tensordot(power, table, dims=([axis], [1])).movedim(-1, axis)
    return power.permute(2, 3, 0, 1).reshape(-1, power.shape[0] ** 2).to(device, dtype)
