"""A batch whose images have different forward operators."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator


@dataclass(frozen=True, eq=False)
class Mixed(LinearOperator):
    """A batch in which each image has one of several operators; measured values are (B, M), padded with zeros."""

    operators: tuple[LinearOperator, ...]  # each for the whole batch
    index: Tensor  # (B,): which of them applies to an image

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
        """The operators in use, each with the places of its images in the batch."""
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
