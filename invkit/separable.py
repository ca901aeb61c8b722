"""Operators that treat colours, rows and columns one after another, with their exact pseudo-inverse."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.grid import Grid
from invkit.operators import LinearOperator

RANK = 1e-12  # singular values below this share of the largest count as zero


@dataclass(frozen=True, eq=False)
class Separable(LinearOperator):
    """A matrix for each axis of a picture: `y[d, m, n] = sum color[d, c] rows[m, h] columns[n, w] x[c, h, w]`.

    An axis without a matrix is left alone, so without any this is the identity. Matrices are (1, out, in), one for the
    whole batch, or (B, out, in); give them in float64. What is measured is a picture of m x n cells on the same domain,
    and `range_weight` is the area of such a cell. The pseudo-inverse comes from the singular value decomposition of the
    three matrices, without what `A` attenuates to `cutoff` of its norm or less.

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
        return self.cutoff

    @property
    def _matrices(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.color, self.rows, self.columns

    def forward(self, x: Tensor) -> Tensor:
        return _apply(x, *self._matrices)

    def adjoint(self, y: Tensor) -> Tensor:
        back = _apply(y, *(None if matrix is None else matrix.mT for matrix in self._matrices))
        return back * (self.range_weight / self.domain.area)

    def pinv(self, y: Tensor) -> Tensor:
        parts = [_svd(matrix) for matrix in self._matrices]
        (d, m, n) = (part[1].to(y) for part in parts)
        gain = d[:, :, None, None] * m[:, None, :, None] * n[:, None, None, :]
        seen = gain > max(self.cutoff, RANK) * gain.amax((1, 2, 3), keepdim=True)
        z = _apply(y, *(None if u is None else u.mT for u, _, _ in parts))
        return _apply(torch.where(seen, z / torch.where(seen, gain, 1), 0), *(v for _, _, v in parts))

    def __len__(self) -> int:
        return self.batch


def _apply(x: Tensor, color: Tensor | None, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    if color is not None:
        x = (color.to(x) @ x.flatten(2)).unflatten(2, x.shape[2:])
    if rows is not None:
        x = rows.to(x)[:, None] @ x
    if columns is not None:
        x = x @ columns.to(x)[:, None].mT
    return x


@lru_cache(maxsize=32)  # tensors are told apart by identity, and matrices never change
def _svd(matrix: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """`u, s, v` with `matrix = u diag(s) v^T`; of the identity, 1."""
    if matrix is None:
        return None, torch.ones(1, 1, dtype=torch.float64), None
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u, s, vh.mT
