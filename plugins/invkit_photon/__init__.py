"""Low light: photons arrive in proportion to the light of the scene, which the values of a photograph are a power of."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.api import Degradation, Field, Grid, Keys, Operator, hookimpl

DARKEST = 1e-4  # smallest light of `initial`: the inverse of the power is steep at black


@dataclass(frozen=True, eq=False)
class Light(Operator):
    """`A(x) = 2 ((x + 1) / 2)^gamma - 1`: black is -1, white is 1; values below black are black."""

    gamma: Tensor  # (B,)
    domain: Grid

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.grid.picture

    @property
    def range_weight(self) -> float:
        return self.grid.area

    def _power(self, like: Tensor) -> Tensor:
        return self.gamma.to(like).view(-1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * ((x + 1) / 2).clamp(min=0) ** self._power(x) - 1

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        gamma = self._power(x)
        return v * gamma * ((x + 1) / 2).clamp(min=0) ** (gamma - 1)

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """The inverse, with counts below zero as black."""
        return 2 * ((y + 1) / 2).clamp(min=DARKEST) ** (1 / self._power(y)) - 1

    def __len__(self) -> int:
        return len(self.gamma)


class LowLight(Degradation):
    """The light that falls on each pixel; with `noise: {name: poisson}`, the photons that are counted.

    `y = 2 ((x + 1) / 2)^gamma - 1`.

    The values of a photograph are about its light to the power 1 / 2.2, so that counts of a grey pixel are few. `gamma: 1` is for
    images whose values are proportional to light.
    """

    gamma: float = Field(2.2, ge=1, le=4, description="exponent that converts the values of the image to light")

    def sample(self, keys: Keys, grid: Grid) -> Operator:
        return Light(torch.full((len(keys),), self.gamma, dtype=torch.float64, device=keys.state.device), grid)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"low-light": LowLight}
