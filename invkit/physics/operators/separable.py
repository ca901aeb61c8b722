"""Separable operators, on colours, rows and columns in turn, with their pseudo-inverse."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator

RANK = 1e-12  # singular values that make up this share of the norm count as zero


@dataclass(frozen=True, eq=False)
class Separable(LinearOperator):
    """A matrix for each axis of an image: `y[d, m, n] = sum color[d, c] rows[m, h] columns[n, w] x[c, h, w]`.

    On an axis without a matrix it is the identity. Matrices are (1, out, in), one for the whole batch, or (B, out, in); give
    them in float64. The measurement is an image of m x n cells on the same domain, and `range_weight` is the area of such a
    cell. The pseudo-inverse uses the singular value decompositions of the three matrices, without the smallest singular
    values, as many as make up the share `cutoff` of the Frobenius norm of `A`.

    >>> mean = Separable(1, Grid(4, 4), rows=torch.full((1, 1, 4), 0.25, dtype=torch.float64))
    >>> mean.range_shape, mean.range_weight
    ((3, 1, 4), 0.25)
    """

    batch: int
    domain: Grid
    color: Tensor | None = None  # (1 or B, D, C)
    rows: Tensor | None = None  # (1 or B, M, H)
    columns: Tensor | None = None  # (1 or B, N, W)
    cutoff: float = 0.0

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, int, int]:
        sizes = zip(self._matrices, self.domain.picture, strict=True)
        d, m, n = (size if matrix is None else matrix.shape[1] for matrix, size in sizes)
        return d, m, n

    @property
    def range_weight(self) -> float:
        height, width = self.domain.extent
        return height / self.range_shape[1] * (width / self.range_shape[2])

    @property
    def pinv_tolerance(self) -> float:
        return (
            3 * self.cutoff
        )  # `cutoff` is the mean error for white-noise images, which hardly any exceeds three times

    @property
    def _matrices(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.color, self.rows, self.columns

    def forward(self, x: Tensor) -> Tensor:
        return _apply(x, *self._matrices)

    def adjoint(self, y: Tensor) -> Tensor:
        back = _apply(y, *(None if matrix is None else matrix.mT for matrix in self._matrices))
        return back * (self.range_weight / self.domain.area)

    def _gain(self, device: torch.device) -> Tensor:
        """Singular values, zero for those below the cutoff, (1 or B, D, M, N)."""
        (d, m, n) = (_svd(matrix)[1].to(device) for matrix in self._matrices)
        gain = d[:, :, None, None] * m[:, None, :, None] * n[:, None, None, :]
        return torch.where(strongest(gain, self.cutoff), gain, 0)

    def pinv(self, y: Tensor) -> Tensor:
        parts, gain = [_svd(matrix) for matrix in self._matrices], self._gain(y.device)
        z = _apply(y, *(None if u is None else u.mT for u, _, _ in parts))
        inverse = torch.where(gain > 0, 1 / torch.where(gain > 0, gain, 1), 0)
        return _apply(z * inverse.to(z), *(v for _, _, v in parts))

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        bases = [_svd(matrix)[2] for matrix in self._matrices]
        gain = self._gain(x.device)
        rest = f(torch.zeros_like(gain[:1, :1, :1, :1])).to(x)
        z = _apply(x, *(None if v is None else v.mT for v in bases))
        return rest * x + _apply(z * (f(gain).to(x) - rest), *bases)

    def __len__(self) -> int:
        return self.batch


def strongest(
    gain: Tensor,  # (K, ...): singular values
    cutoff: float,
) -> Tensor:
    """Which singular values are kept: all but the smallest, whose squares sum to at most `cutoff**2` of the total."""
    square = gain.flatten(1).square()
    square = square / square.sum(1, keepdim=True).clamp(min=1e-300)
    order = square.sort(1).values
    first = (order.cumsum(1) <= max(cutoff, RANK) ** 2).sum(1, keepdim=True).clamp(max=order.shape[1] - 1)
    least = order.gather(1, first) * (1 - 1e-9)  # equal values are kept or dropped together
    return ((square >= least) & (square > 0)).view_as(gain)


def _apply(x: Tensor, color: Tensor | None, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    if color is not None:
        x = (color.to(x) @ x.flatten(2)).unflatten(2, x.shape[2:])
    if rows is not None:
        x = rows.to(x)[:, None] @ x
    if columns is not None:
        x = x @ columns.to(x)[:, None].mT
    return x


@lru_cache(maxsize=32)  # tensors are compared by identity, and matrices never change
def _svd(matrix: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """`u, s, v` with `matrix = u diag(s) v^T`; s = 1 for the identity."""
    if matrix is None:
        return None, torch.ones(1, 1, dtype=torch.float64), None
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u, s, vh.mT
