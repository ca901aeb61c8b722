"""The degradations of the core: composed, mixed, and nothing observed."""

import itertools
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.composed import Composed, merged
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.mixed import Mixed


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
            made[-1:] = merged(made[-1], operator)
        return made[0] if len(made) == 1 else Composed(tuple(made))


def _picture(shape: tuple[int, ...], i: int, law: Degradation) -> Grid:
    """The grid of a measured picture. Raises ValueError for anything else."""
    if len(shape) != 3:
        raise ValueError(
            f"compose: of.{i} ({type(law).__name__}) measures values of shape {shape}, which is no picture "
            "(C, H, W) for the next part; only the last part may do so, put it there"
        )
    return Grid(shape[1], shape[2], shape[0])


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


class Nothing(Degradation):
    """Observe no pixel at all: the posterior is the prior, for zero-shot methods that bring the measurement in later."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(torch.zeros(len(keys), 1, *grid.shape, dtype=torch.bool, device=keys.state.device), grid.channels)
