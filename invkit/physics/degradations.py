"""The built-in degradations: compositions, mixtures, and nothing observed."""

import itertools
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Operator, linear
from invkit.physics.operators.composed import Chained, Composed, merged
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.mixed import Mixed


class Compose(Degradation):
    """Several degradations in turn, each applied to the measurement of the one before.

    `y = A_n ... A_2 A_1 x`.

    All but the last have to measure images (C', H', W'), which are the domain of the next; noise is added once, at the end.
    Lengths of a later part are in units of the shorter side of its own domain. Adjacent masks compose to a mask, and
    separable operators (Gaussian blur, super-resolution, colour) to a separable one.
    """

    of: tuple[Degradation, ...] = Field(min_length=1, description="degradations, applied from left to right")

    def table_rows(self) -> Sequence[tuple[Degradation, Degradation]]:
        every = [[evaluated for _, evaluated in part.table_rows()] for part in self.of]
        rows = [self.model_copy(update={"of": chosen}) for chosen in itertools.product(*every)]
        return [(row, row) for row in rows]

    def sample(self, keys: Keys, grid: Grid) -> Operator:
        operators: list[Operator] = []
        for i, part in enumerate(self.of):
            if operators:
                grid = _range_grid(operators[-1].range_shape, i - 1, self.of[i - 1])
            operators.append(part.sample(keys.child(f"of/{i}"), grid))
        made = [operators[0]]
        for operator in operators[1:]:
            made[-1:] = merged(made[-1], operator)
        if len(made) == 1:
            return made[0]
        known = [operator for operator in made if isinstance(operator, LinearOperator)]
        return Composed(tuple(known)) if len(known) == len(made) else Chained(tuple(made))


def _range_grid(shape: tuple[int, ...], i: int, part: Degradation) -> Grid:
    """The grid of a measured image. Raises ValueError where the measured values are no image."""
    if len(shape) != 3:
        raise ValueError(
            f"compose: of.{i} ({type(part).__name__}) measures values of shape {shape}, and the next part needs an image "
            "(C, H, W); make it the last part"
        )
    return Grid(shape[1], shape[2], shape[0])


class Mixture(Degradation):
    """One of several degradations for each image, drawn with probabilities proportional to the weights.

    `y = A_i x` with the probability `weights_i / sum(weights)`.

    The table has rows for each of them. A part of weight 0 is evaluated but never trained on. A mixture of masks gives
    masks; otherwise the measured values are flattened, and padded with zeros to the longest. All parts are linear.
    """

    of: tuple[Degradation, ...] = Field(min_length=1, description="degradations, one of which is drawn for each image")
    weights: tuple[float, ...] | None = Field(
        None, description="relative frequency of each, 0 for never; null: all equal"
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
        # a mixture that always draws this part, so that measurements have the format of the training
        return [
            (
                named,
                self.model_copy(
                    update={
                        "of": (*self.of[:i], evaluated, *self.of[i + 1 :]),
                        "weights": tuple(float(i == j) for j in range(len(self.of))),
                    }
                ),
            )
            for i, part in enumerate(self.of)
            for named, evaluated in part.table_rows()
        ]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        shares = torch.tensor(self.weights or [1.0] * len(self.of), dtype=torch.float64).cumsum(0)
        u = keys.child("mixture").uniform("part").double()
        index = torch.searchsorted((shares / shares[-1]).to(u.device), u, right=True)
        # with the images' own keys each part samples the operators that it samples outside the mixture
        operators = tuple(_linear(part.sample(keys[:], grid), i) for i, part in enumerate(self.of))
        masks = [operator.observed for operator in operators if isinstance(operator, Mask)]
        if len(masks) < len(operators):
            return Mixed(operators, index)
        channels = max(mask.shape[1] for mask in masks)
        stacked = torch.stack([mask.expand(-1, channels, -1, -1) for mask in masks], 1)
        return Mask(stacked[torch.arange(len(index), device=index.device), index], grid.channels)


def _linear(operator: Operator, i: int) -> LinearOperator:
    try:
        return linear(operator, f"mixture: of.{i}")
    except Unavailable as why:
        raise ValueError(str(why)) from None


class Nothing(Degradation):
    """No pixel is observed: the posterior is the prior, as zero-shot methods need it.

    `y = 0 x`.
    """

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(torch.zeros(len(keys), 1, *grid.shape, dtype=torch.bool, device=keys.device), grid.channels)
