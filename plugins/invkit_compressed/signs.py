"""A matrix of random signs."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit_compressed.base import Rows, decompose


@dataclass(frozen=True, eq=False)
class Signs(Rows):
    """`A = S / sqrt(n)` with a matrix S of signs."""

    negative: Tensor  # (B, m, n) boolean

    @property
    def count(self) -> int:
        return self.negative.shape[1]

    def _matrix(self, like: Tensor) -> Tensor:
        return _matrix(self.negative, like.dtype).to(like.device)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2) @ self._matrix(x).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self._matrix(y)).unflatten(2, self.domain.shape)

    def decomposed(self) -> tuple[Tensor, Tensor]:
        return _decomposed(self.negative)

    def __len__(self) -> int:
        return len(self.negative)


@lru_cache(maxsize=2)  # tensors are compared by identity
def _matrix(negative: Tensor, dtype: torch.dtype) -> Tensor:
    return (1 - 2 * negative.to(dtype)) / negative.shape[2] ** 0.5


@lru_cache(maxsize=2)
def _decomposed(negative: Tensor) -> tuple[Tensor, Tensor]:
    matrix = _matrix(negative, torch.float64)
    return decompose(matrix @ matrix.mT)
