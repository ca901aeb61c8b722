"""The Radon transform, its exact adjoint, filtered back-projection and pseudo-inverse."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator, least_squares, strongest
from invkit_tomography.geometry import Geometry, matrices

CUTOFF = 0.03  # share of the operator's Frobenius norm that the pseudo-inverse omits
DENSE = 2500  # the pseudo-inverse is iterative if both pixels and values per channel exceed this


@dataclass(frozen=True, eq=False)
class Radon(LinearOperator):
    """Line integrals of every channel over detector bins and directions: (B, C, H, W) to (B, C, angles, bins).

    The inner product of sinograms approximates the integral over the half circle: `range_weight` is the width of a bin
    times the angle between two directions. If pixels or values per channel are at most `DENSE`, the pseudo-inverse is
    that of the truncated singular value decomposition; otherwise conjugate gradients to a residual of `CUTOFF`.
    """

    batch: int
    geometry: Geometry

    @property
    def grid(self) -> Grid:
        return self.geometry.grid

    @property
    def range_shape(self) -> tuple[int, int, int]:
        return self.grid.channels, self.geometry.angles, self.geometry.bins

    @property
    def range_weight(self) -> float:
        return self.geometry.bin * self.geometry.turn

    @property
    def pinv_tolerance(self) -> float:
        return 3 * CUTOFF

    def forward(self, x: Tensor) -> Tensor:
        return _apply(matrices(self.geometry, x.device, x.dtype)[0], x, self.range_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Back-projection: at every point, the integral over the directions of the values measured along its lines."""
        matrix = matrices(self.geometry, y.device, y.dtype)[1]
        return _apply(matrix, y, self.grid.picture) * (self.range_weight / self.grid.area)

    def pinv(self, y: Tensor) -> Tensor:
        if min(self.geometry.size, self.grid.pixels) > DENSE:
            return least_squares(self, y, CUTOFF)
        return _apply(_pinv(self.geometry, y.device, y.dtype), y, self.grid.picture)

    def fbp(self, y: Tensor) -> Tensor:
        """Filtered back-projection (B, C, H, W) with the ramp filter of Kak & Slaney (1988), chapter 3, eq. 61.

        An approximate inverse if the directions cover 180 degrees; with few directions it shows streaks.
        """
        n, width = self.geometry.bins, self.geometry.bin
        length = 2 ** math.ceil(math.log2(2 * n))
        lag = torch.arange(length, dtype=torch.float64)
        lag = torch.minimum(lag, length - lag)
        ramp = torch.where(lag % 2 == 1, -1 / (math.pi * lag.clamp(min=1) * width) ** 2, 0)
        ramp[0] = 1 / (2 * width) ** 2
        gain = torch.fft.rfft(ramp).real * width
        filtered = torch.fft.irfft(torch.fft.rfft(y, length) * gain.to(y), length)[..., :n]
        return self.adjoint(filtered)

    def __len__(self) -> int:
        return self.batch


def _apply(matrix: Tensor, x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Apply a matrix to the flattened last two dimensions of (B, C, *, *)."""
    batch, channels = x.shape[:2]
    flat = x.reshape(batch * channels, -1).T.contiguous()
    return (matrix @ flat).T.reshape(batch, *shape)


@lru_cache(maxsize=8)
def _pinv(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> Tensor:
    return _dense_pinv(geometry).to(device, dtype)


@lru_cache(maxsize=4)
def _dense_pinv(geometry: Geometry) -> Tensor:
    """The pseudo-inverse (pixels, values), float64, without the smallest singular values."""
    matrix = matrices(geometry, torch.device("cpu"), torch.float64)[0].to_dense()
    wide = matrix.shape[0] <= matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    kept = strongest(values.clamp(min=0).sqrt()[None], CUTOFF)[0]
    inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
    return matrix.T @ inverse if wide else inverse @ matrix.T
