"""The forward operator of Cartesian MRI."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator, least_squares, strongest

CUTOFF = 0.03  # share of the Frobenius norm of the singular values that the pseudo-inverse of several coils drops
DENSE = 1 << 21  # numbers in the decomposition of one image; larger problems are solved iteratively


def _transform(z: Tensor, dim: int) -> Tensor:
    """The centred orthonormal Fourier transform along an axis."""
    return torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(z, dim), dim=dim, norm="ortho"), dim)


def _back(z: Tensor, dim: int) -> Tensor:
    return torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(z, dim), dim=dim, norm="ortho"), dim)


@dataclass(frozen=True, eq=False)
class Cartesian(LinearOperator):
    """`y_c = P F S_c x`, see `MRI`. The range is (coils, 2 x images, lines, W): real parts, then imaginary parts.

    An orthonormal F and maps with a root sum of squares of one make `A^T A` the identity where all lines are measured. For one coil
    the pseudo-inverse is exact. For several it is truncated: lines are complete, so each column of the image has a decomposition of
    its own; above `DENSE` it is iterative.
    """

    batch: int
    domain: Grid
    lines: Tensor  # (B, n) int64
    maps: Tensor  # (1, coils, H, W) complex128

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def _complex(self) -> bool:
        return self.domain.channels == 2

    @property
    def range_shape(self) -> tuple[int, int, int, int]:
        images = 1 if self._complex else self.domain.channels
        return self.maps.shape[1], 2 * images, self.lines.shape[1], self.domain.width

    @property
    def range_weight(self) -> float:
        return self.domain.area

    @property
    def _single(self) -> bool:
        return self.maps.shape[1] == 1 and bool((self.maps == 1).all())

    @property
    def pinv_tolerance(self) -> float:
        return 0.0 if self._single else 3 * CUTOFF

    def _images(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) as complex ones (B, S, H, W)."""
        return torch.complex(x[:, :1], x[:, 1:]) if self._complex else torch.complex(x, torch.zeros_like(x))

    def _channels(self, z: Tensor) -> Tensor:
        """The transpose of `_images`."""
        return torch.cat([z.real, z.imag], 1) if self._complex else z.real

    def _at(self, z: Tensor) -> Tensor:
        """Indices of the measured lines in complex images (B, coils, S, H or n, W)."""
        return self.lines[:, None, None, :, None].expand(*z.shape[:3], -1, z.shape[4])

    def forward(self, x: Tensor) -> Tensor:
        z = self._images(x)[:, None]
        seen = self.maps.to(z)[:, :, None] * z  # (B, coils, S, H, W)
        k = _transform(_transform(seen, 3).gather(3, self._at(seen)), 4)
        return torch.cat([k.real, k.imag], 2)

    def adjoint(self, y: Tensor) -> Tensor:
        k = _back(torch.complex(*(part.contiguous() for part in y.chunk(2, 2))), 4)
        whole = k.new_zeros(*k.shape[:3], self.domain.height, k.shape[4]).scatter(3, self._at(k), k)
        return self._channels((self.maps.to(k)[:, :, None].conj() * _back(whole, 3)).sum(1))

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """A complex image of one coil has the singular value 1 in measured lines. A real one has `sqrt(1 / 2)` where a line is
        measured and the line of the opposite frequency, which has the conjugate values, is not.
        """
        if not self._single:
            return self._by_column(f, x)
        height = self.domain.height
        share = torch.zeros(len(self.lines), height, dtype=torch.float64, device=x.device).scatter(1, self.lines, 1.0)
        if not self._complex:
            opposite = (2 * (height // 2) - torch.arange(height, device=x.device)) % height
            share = (share + share[:, opposite]) / 2
        z = self._images(x)
        return self._channels(_back(f(share.sqrt())[:, None, :, None].to(z) * _transform(z, 2), 2))

    def _by_column(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """`V f(s) V^T x` for each column of the image, with the truncated values s; None above `DENSE`."""
        if self.domain.height**2 * self.domain.width > DENSE:
            return None
        values, vectors = _decomposed(self.lines, self.maps, self._complex)
        z = (self._images(x) if self._complex else x).transpose(2, 3).unsqueeze(4).to(vectors.dtype)  # (B, S, W, H, 1)
        v = vectors[:, None]
        out = (v @ (f(values)[:, None, ..., None] * (v.mH @ z))).squeeze(4).transpose(2, 3)
        return (self._channels(out) if self._complex else out).to(x.dtype)

    def pinv(self, y: Tensor) -> Tensor:
        found = self.spectral(lambda s: torch.where(s > 0, 1 / torch.where(s > 0, s, 1).square(), 0), self.adjoint(y))
        return least_squares(self, y, CUTOFF) if found is None else found

    def __len__(self) -> int:
        return self.batch


@lru_cache(maxsize=2)  # tensors are compared by identity
def _decomposed(lines: Tensor, maps: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Singular values (B, W, H), the weakest set to zero, and right singular vectors (B, W, H, H) of the columns.

    `A^T A` of a column is the product of the matrix of the lines and of that of the maps, element by element; for real images
    (not `whole`) its real part.
    """
    height = maps.shape[2]
    unit = _transform(torch.eye(height, dtype=maps.dtype, device=maps.device), 0)  # row: what a line measures
    measured = unit[lines]  # (B, n, H)
    column = maps[0].permute(2, 0, 1)  # (W, coils, H)
    gram = (measured.mH @ measured)[:, None] * (column.mH @ column)
    values, vectors = torch.linalg.eigh(gram if whole else gram.real)
    s = values.clamp(min=0).sqrt()
    return torch.where(strongest(s, CUTOFF), s, 0), vectors
