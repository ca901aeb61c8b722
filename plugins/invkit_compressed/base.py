"""What operators with few rows have in common: their decomposition is that of `A A^T`."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator, least_squares, strongest

CUTOFF = 0.01  # share of the Frobenius norm of the singular values that the pseudo-inverse drops
DENSE = 2048  # largest number of rows that are decomposed; with more the pseudo-inverse is iterative


@dataclass(frozen=True, eq=False)
class Rows(LinearOperator):
    """Each channel of n pixels to m values: (B, C, H, W) to (B, C, m), in unweighted inner products of values and pixels."""

    domain: Grid

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of rows m."""

    @property
    def orthogonal(self) -> bool:
        """Whether `A A^T = 1`."""
        return False

    @abstractmethod
    def decomposed(self) -> tuple[Tensor, Tensor]:
        """Singular values (B, m), the weakest zero, and left singular vectors (B, m, m), float64."""

    @property
    def range_shape(self) -> tuple[int, int]:
        return self.domain.channels, self.count

    @property
    def range_weight(self) -> float:
        return self.domain.area

    @property
    def pinv_tolerance(self) -> float:
        return 0.0 if self.orthogonal else 3 * CUTOFF

    def _through(self, f: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        """`U f(s) U^T y` for (B, C, m)."""
        s, u = self.decomposed()
        return ((y.double() @ u * f(s)[:, None]) @ u.mT).to(y)

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        zero, one = (f(torch.full((), value, dtype=torch.float64, device=x.device)) for value in (0.0, 1.0))
        if self.orthogonal:
            return zero.to(x) * x + self.adjoint((one - zero).to(x) * self.forward(x))
        if self.count > DENSE:
            return None
        y = self._through(lambda s: torch.where(s > 0, (f(s) - zero) / _safe(s), 0), self.forward(x))
        return zero.to(x) * x + self.adjoint(y)

    def pinv(self, y: Tensor) -> Tensor:
        if self.orthogonal:
            return self.adjoint(y)
        if self.count > DENSE:
            return least_squares(self, y, CUTOFF)
        return self.adjoint(self._through(lambda s: torch.where(s > 0, 1 / _safe(s), 0), y))


def _safe(s: Tensor) -> Tensor:
    return torch.where(s > 0, s, 1).square()


def decompose(
    gram: Tensor,  # (B, m, m) float64: A A^T
) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(gram)
    s = values.clamp(min=0).sqrt()
    return torch.where(strongest(s, CUTOFF), s, 0), vectors
