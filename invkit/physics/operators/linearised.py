"""The derivative of an operator as a linear operator."""

from dataclasses import dataclass

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

    def forward(self, x: Tensor) -> Tensor:
        return self.operators[0].jvp(self.at.to(x), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operators[0].vjp(self.at.to(y), y) * (self.range_weight / self.grid.area)

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y, TOLERANCE)

    def measured(self, y: Tensor) -> Tensor:
        return self.operators[0].measured(y)

    def __len__(self) -> int:
        return len(self.at)
