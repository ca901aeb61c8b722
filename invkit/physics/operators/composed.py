"""Compositions of forward operators."""

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.physics.operators.least_squares import least_squares
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable

TOLERANCE = 1e-3  # of the iterative pseudo-inverse of a composition


def merged(first: Operator, then: Operator) -> list[Operator]:
    """Both as one operator, where that has a closed form."""
    if isinstance(first, Mask) and isinstance(then, Mask):
        return [Mask(first.observed & then.observed, first.channels)]
    if isinstance(first, Separable) and isinstance(then, Separable):
        axes = {axis: _product(getattr(then, axis), getattr(first, axis)) for axis in ("color", "rows", "columns")}
        return [Separable(first.batch, first.domain, **axes, cutoff=max(first.cutoff, then.cutoff))]
    return [first, then]


@lru_cache(maxsize=64)  # by identity, so that the cached decomposition of the product is found again
def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a @ b if a is not None and b is not None else a if b is None else b


@dataclass(frozen=True, eq=False)
class Chained(Operator):
    """`A = A_n o ... o A_1`, of which some are not linear."""

    operators: tuple[Operator, ...]  # in the order of application

    @property
    def grid(self) -> Grid:
        return self.operators[0].grid

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.operators[-1].range_shape

    @property
    def range_weight(self) -> float:
        return self.operators[-1].range_weight

    def forward(self, x: Tensor) -> Tensor:
        for operator in self.operators:
            x = operator.forward(x)
        return x

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        at = [x]
        for operator in self.operators[:-1]:
            at.append(operator.forward(at[-1]))
        for operator, where in zip(self.operators[::-1], at[::-1], strict=True):
            v = operator.vjp(where, v)
        return v

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        for operator in self.operators:
            x, u = operator.forward(x), operator.jvp(x, u)
        return u

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """Each part in turn, from the last."""
        at = [start]
        for operator in self.operators[:-1]:
            at.append(None if at[-1] is None else operator.forward(at[-1]))
        for operator, where in zip(self.operators[::-1], at[::-1], strict=True):
            y = operator.initial(y, where)
        return y

    def measured(self, y: Tensor) -> Tensor:
        return self.operators[-1].measured(y)

    def __len__(self) -> int:
        return len(self.operators[0])


@dataclass(frozen=True, eq=False)
class Composed(LinearOperator, Chained):
    """`A = A_n ... A_1`, all of them linear.

    The pseudo-inverse is iterative. It fits the measurement to a relative error of `TOLERANCE`; where the composition is
    ill-posed, as for a blur followed by a mask, the most attenuated components are not recovered.
    """

    operators: tuple[LinearOperator, ...]

    @property
    def pinv_tolerance(self) -> float:
        return max(5 * TOLERANCE, *(operator.pinv_tolerance for operator in self.operators))

    def adjoint(self, y: Tensor) -> Tensor:
        for operator, before in zip(self.operators[:0:-1], self.operators[-2::-1], strict=True):
            # the range of `before` has weight `range_weight`, the same space as a domain of `operator` has weight `area`
            y = operator.adjoint(y) * (operator.grid.area / before.range_weight)
        return self.operators[0].adjoint(y)

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y, TOLERANCE)
