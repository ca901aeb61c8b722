"""A degradation is a law of operators; a measurement is what one draw of it saw of a picture."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import LinearOperator, Mask
from invkit.settings import Settings


class Degradation(Settings, ABC):
    """A law of measurement operators; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "degradation"

    @abstractmethod
    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        """Draw one operator for each key: a batch of `len(keys)` on `grid`, on the device of the keys.

        Raises ValueError, with the way out, for a grid that the settings do not fit.
        """

    @property
    def resolution_law(self) -> float | None:
        """How closely `A* A` of a smooth picture agrees between a grid of 48 and one of 96: a relative error.

        None where the settings are no lengths (a share of the pixels, a factor), so that grids need not agree.
        """
        return None

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        """Settings that `invkit.testing` checks, where `Field(examples=[...])`, types and bounds cannot tell."""
        return ()

    def table_rows(self) -> Sequence[tuple["Degradation", "Degradation"]]:
        """What a table has rows for, one after the other: the degradation that names them, and the law to evaluate."""
        return [(self, self)]


class Noise(Settings):
    """Additive white Gaussian noise of the measurements."""

    sigma: float = Field(0.0, ge=0, le=10, description="standard deviation of each measured value, in [-1, 1] units")


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a reconstructor may see, and all it may see: `y = A x + noise`."""

    operator: LinearOperator
    y: Tensor  # (B, *range_shape)
    sigma: float = 0.0  # standard deviation of each measured value

    @property
    def grid(self) -> Grid:
        return self.operator.grid

    @property
    def observed(self) -> Tensor | None:
        """The mask (B, 1 or C, H, W) where the operator is one, else None."""
        return self.operator.observed if isinstance(self.operator, Mask) else None

    def __len__(self) -> int:
        return len(self.operator)

    def __getitem__(self, index: slice | Tensor) -> "Measurement":
        return Measurement(self.operator[index], self.y[index], self.sigma)

    def repeat(self, count: int) -> "Measurement":
        return Measurement(self.operator.repeat(count), self.y.repeat(count, *[1] * (self.y.ndim - 1)), self.sigma)

    def to(self, device: torch.device | str) -> "Measurement":
        return Measurement(self.operator.to(device), self.y.to(device), self.sigma)

    def paste(self, x: Tensor) -> Tensor:
        """`x` (..., B, C, H, W) with what was seen exactly put in: only for masks without noise."""
        if self.observed is None or self.sigma > 0:
            return x
        return torch.where(self.observed, self.y, x)


def measure(
    operator: LinearOperator,
    x: Tensor,  # (B, C, H, W)
    noise: Noise,
    keys: Keys,
) -> Measurement:
    """Measure pictures once: `y = A x + sigma e`, the noise keyed by picture."""
    y = operator.forward(x)
    if noise.sigma > 0:
        y = y + noise.sigma * operator.measured(keys.normal("noise", *operator.range_shape))
    return Measurement(operator, y, noise.sigma)
