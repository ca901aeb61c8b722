"""Degradations made of others: `compose`, one after the other, and `mixture`, one of several for each picture."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Mask
from invkit.physics.operators.least_squares import least_squares
from invkit.physics.operators.separable import Separable

TOLERANCE = 1e-3  # of the iterative pseudo-inverse of a composition


class Compose(Degradation):
    """Measure a picture by several degradations in turn, each measuring what the one before it left.

    All but the last have to measure pictures (C', H', W'), which are the domain of the next; noise is added once, at the
    end. Lengths of a later part are shares of the shorter side of its own picture. Neighbouring masks compose to a mask, and
    separable operators (Gaussian blur, super-resolution, colour) to a separable one.
    """

    of: tuple[Degradation, ...] = Field(min_length=1, description="degradations, applied from left to right")

    def table_rows(self) -> Sequence[tuple[Degradation, Degradation]]:
        every = [[law for _, law in part.table_rows()] for part in self.of]
        laws = [self.model_copy(update={"of": chosen}) for chosen in itertools.product(*every)]
        return [(law, law) for law in laws]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        operators: list[LinearOperator] = []
        for i, law in enumerate(self.of):
            if operators:
                grid = _picture(operators[-1].range_shape, i - 1, self.of[i - 1])
            operators.append(law.sample(keys.child(f"of/{i}"), grid))
        made = [operators[0]]
        for operator in operators[1:]:
            made[-1:] = _merged(made[-1], operator)
        return made[0] if len(made) == 1 else Composed(tuple(made))


def _merged(first: LinearOperator, then: LinearOperator) -> list[LinearOperator]:
    """Both as one operator with a closed form, where they have one."""
    if isinstance(first, Mask) and isinstance(then, Mask):
        return [Mask(first.observed & then.observed, first.channels)]
    if isinstance(first, Separable) and isinstance(then, Separable):
        axes = {axis: _product(getattr(then, axis), getattr(first, axis)) for axis in ("color", "rows", "columns")}
        return [Separable(first.batch, first.domain, **axes, cutoff=max(first.cutoff, then.cutoff))]
    return [first, then]


@lru_cache(maxsize=64)  # by identity, so that the decomposition of the product is found again
def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a @ b if a is not None and b is not None else a if b is None else b


def _picture(shape: tuple[int, ...], i: int, law: Degradation) -> Grid:
    """The grid of a measured picture. Raises ValueError for anything else."""
    if len(shape) != 3:
        raise ValueError(
            f"compose: of.{i} ({type(law).__name__}) measures values of shape {shape}, which is no picture "
            "(C, H, W) for the next part; only the last part may do so, put it there"
        )
    return Grid(shape[1], shape[2], shape[0])


@dataclass(frozen=True, eq=False)
class Composed(LinearOperator):
    """`A = A_n ... A_1`.

    The pseudo-inverse is iterative, to `TOLERANCE`. Where the composition is ill-posed, as a blur before a mask is, it
    stops before it reaches what is attenuated most, and only explains the measurement to `TOLERANCE`.
    """

    operators: tuple[LinearOperator, ...]  # in the order in which they act

    @property
    def grid(self) -> Grid:
        return self.operators[0].grid

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.operators[-1].range_shape

    @property
    def range_weight(self) -> float:
        return self.operators[-1].range_weight

    @property
    def pinv_tolerance(self) -> float:
        return max(5 * TOLERANCE, *(operator.pinv_tolerance for operator in self.operators))

    def forward(self, x: Tensor) -> Tensor:
        for operator in self.operators:
            x = operator.forward(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        for operator, before in zip(self.operators[:0:-1], self.operators[-2::-1], strict=True):
            # what is a range of weight w to the one before is a domain of weight `area` to this one
            y = operator.adjoint(y) * (operator.grid.area / before.range_weight)
        return self.operators[0].adjoint(y)

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y, TOLERANCE)

    def measured(self, y: Tensor) -> Tensor:
        return self.operators[-1].measured(y)

    def __len__(self) -> int:
        return len(self.operators[0])


class Mixture(Degradation):
    """Measure every picture by one of several degradations, drawn by their weights: one model for many operators.

    The table has rows for each of them. A part of weight 0 is never trained on, and still evaluated. Masks alone mix to
    masks; else the measured values are flattened, and padded with zeros to the longest.
    """

    of: tuple[Degradation, ...] = Field(min_length=1, description="degradations, of which every picture draws one")
    weights: tuple[float, ...] | None = Field(
        None, description="how often each is drawn, in any unit, 0 for never; null: all alike"
    )

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if self.weights is not None:
            if len(self.weights) != len(self.of):
                raise ValueError(f"weights should have one number for each of `of`: {len(self.of)}")
            if min(self.weights) < 0 or sum(self.weights) == 0:
                raise ValueError("weights should be at least 0, and one of them above")
        return self

    def table_rows(self) -> Sequence[tuple[Degradation, Degradation]]:
        # as a mixture that draws this part alone: measurements then look as they did in training
        return [
            (
                named,
                self.model_copy(
                    update={
                        "of": (*self.of[:i], law, *self.of[i + 1 :]),
                        "weights": tuple(float(i == j) for j in range(len(self.of))),
                    }
                ),
            )
            for i, part in enumerate(self.of)
            for named, law in part.table_rows()
        ]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        shares = torch.tensor(self.weights or [1.0] * len(self.of), dtype=torch.float64).cumsum(0)
        u = keys.child("mixture").uniform("part").double()
        index = torch.searchsorted((shares / shares[-1]).to(u.device), u, right=True)
        # each part under the pictures' own keys: it draws what it draws without the mixture
        operators = tuple(law.sample(keys[:], grid) for law in self.of)
        masks = [operator.observed for operator in operators if isinstance(operator, Mask)]
        if len(masks) < len(operators):
            return Mixed(operators, index)
        channels = max(mask.shape[1] for mask in masks)
        stacked = torch.stack([mask.expand(-1, channels, -1, -1) for mask in masks], 1)
        return Mask(stacked[torch.arange(len(index), device=index.device), index], grid.channels)


@dataclass(frozen=True, eq=False)
class Mixed(LinearOperator):
    """A batch in which every picture has one of several operators; measured values are (B, M), zero beyond their own."""

    operators: tuple[LinearOperator, ...]  # each drawn for the whole batch
    index: Tensor  # (B,) which of them measures a picture

    @property
    def grid(self) -> Grid:
        return self.operators[0].grid

    @property
    def range_shape(self) -> tuple[int, ...]:
        return (max(math.prod(operator.range_shape) for operator in self.operators),)

    @property
    def range_weight(self) -> float:
        return self.grid.area

    def _split(self) -> Iterator[tuple[LinearOperator, Tensor]]:
        """The operators in use, each with the places of its pictures."""
        for i, operator in enumerate(self.operators):
            if len(places := (self.index == i).nonzero()[:, 0]):
                yield operator[places], places

    def _own(self, y: Tensor, operator: LinearOperator, places: Tensor) -> Tensor:
        return y[places, : math.prod(operator.range_shape)].unflatten(1, operator.range_shape)

    @property
    def pinv_tolerance(self) -> float:
        return max(operator.pinv_tolerance for operator in self.operators)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(len(x), *self.range_shape)
        for operator, places in self._split():
            own = operator.forward(x[places]).flatten(1)
            y[places, : own.shape[1]] = own
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), *self.grid.picture)
        for operator, places in self._split():
            weight = self.range_weight / operator.range_weight
            x[places] = operator.adjoint(self._own(y, operator, places)) * weight
        return x

    def pinv(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), *self.grid.picture)
        for operator, places in self._split():
            x[places] = operator.pinv(self._own(y, operator, places))
        return x

    def measured(self, y: Tensor) -> Tensor:
        kept = torch.zeros_like(y)
        for operator, places in self._split():
            own = operator.measured(self._own(y, operator, places)).flatten(1)
            kept[places, : own.shape[1]] = own
        return kept

    def __len__(self) -> int:
        return len(self.index)
