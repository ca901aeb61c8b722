"""Measurements `y = A x + noise`."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.physics.operators.base import Operator
from invkit.physics.operators.mask import Mask


class Noise(Settings):
    """Additive white Gaussian noise of the measurements."""

    sigma: float = Field(
        0.0, ge=0, le=10, description="standard deviation of each measured value; images are in [-1, 1]"
    )


@dataclass(frozen=True, eq=False)
class Measurement:
    """A forward operator and its data `y = A x + noise`: all that a reconstructor is given."""

    operator: Operator
    y: Tensor  # (B, *range_shape)
    sigma: float = 0.0  # standard deviation of each measured value

    @property
    def grid(self) -> Grid:
        return self.operator.grid

    @property
    def observed(self) -> Tensor | None:
        """The mask (B, 1 or C, H, W) where the operator is one, else None."""
        return self.operator.observed if isinstance(self.operator, Mask) else None

    @property
    def exact(self) -> Tensor | None:
        """The pixels that are known exactly (B, 1 or C, H, W): those that a mask observes without noise. Else None."""
        return None if self.sigma > 0 else self.observed

    def __repr__(self) -> str:
        return f"Measurement({self.operator}, y {'x'.join(map(str, self.y.shape))}, sigma {self.sigma:g})"

    def __len__(self) -> int:
        return len(self.operator)

    def __getitem__(self, index: slice | Tensor) -> "Measurement":
        return Measurement(self.operator[index], self.y[index], self.sigma)

    def repeat(self, count: int) -> "Measurement":
        return Measurement(self.operator.repeat(count), self.y.repeat(count, *[1] * (self.y.ndim - 1)), self.sigma)

    def to(self, device: torch.device | str) -> "Measurement":
        return Measurement(self.operator.to(device), self.y.to(device), self.sigma)

    def paste(self, x: Tensor) -> Tensor:
        """`x` (..., B, C, H, W) with the exactly known pixels put in."""
        return x if self.exact is None else torch.where(self.exact, self.y, x)


def measure(
    operator: Operator,
    x: Tensor,  # (B, C, H, W)
    noise: Noise,
    keys: Keys,
) -> Measurement:
    """The measurement `y = A x + sigma e` of images, with noise keyed by image."""
    y = operator.forward(x)
    if noise.sigma > 0:
        y = y + noise.sigma * operator.measured(keys.normal("noise", *operator.range_shape))
    return Measurement(operator, y, noise.sigma)
