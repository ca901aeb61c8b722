"""The derivative of an operator as a linear operator."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.physics.operators.least_squares import least_squares

TOLERANCE = 1e-3  # of the iterative pseudo-inverse


@dataclass(frozen=True, eq=False)
class Linearised(LinearOperator):
    """`J(x)`, the derivative of an operator at images."""

    operators: tuple[Operator]
    at: Tensor  # (B, C, H, W)

    @property
    def grid(self) -> Grid:
        return self.operators[0].grid

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.operators[0].range_shape

    @property
    def range_weight(self) -> float:
        return self.operators[0].range_weight

    @property
    def pinv_tolerance(self) -> float:
        return 5 * TOLERANCE

    @cached_property
    def _pulled(self) -> tuple[Tensor, Tensor]:
        """A point v, and `J^T v`, whose derivative is J."""
        with torch.enable_grad():
            v = self.at.new_zeros(len(self), *self.range_shape).requires_grad_()
            return v, self.operators[0].vjp(self.at, v)

    def forward(self, x: Tensor) -> Tensor:
        v, pulled = self._pulled
        if x.dtype != self.at.dtype or not pulled.requires_grad:
            return self.operators[0].jvp(self.at.to(x), x)
        return torch.autograd.grad(pulled, v, x, retain_graph=True)[0]

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operators[0].vjp(self.at.to(y), y) * (self.range_weight / self.grid.area)

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y, TOLERANCE)

    def measured(self, y: Tensor) -> Tensor:
        return self.operators[0].measured(y)

    def __len__(self) -> int:
        return len(self.at)
