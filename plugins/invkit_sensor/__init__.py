"""Sensors: exposures that saturate, converters that count in a few bits, and JPEG."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.api import Degradation, Field, Grid, Keys, NoiseLaw, Operator, hookimpl, log_mass
from invkit_sensor.jpeg import Jpeg

__all__ = ["Clip", "Converter", "Jpeg", "Saturation"]


@dataclass(frozen=True, eq=False)
class Clip(Operator):
    """`A(x) = min(exposure (x + 1) - 1, 1)`, and at least -1."""

    exposure: Tensor  # (B,)
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

    def _gain(self, like: Tensor) -> Tensor:
        return self.exposure.to(like).view(-1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self._gain(x) * (x + 1) - 1).clamp(-1, 1)

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """The darkest image that fits: `(y + 1) / exposure - 1`."""
        return (y + 1) / self._gain(y) - 1

    def __len__(self) -> int:
        return len(self.exposure)


class Saturation(Degradation):
    """An exposure that is too long: what is brighter than `1 / exposure` of white is white.

    `y = min(max(exposure (x + 1) - 1, -1), 1)`.
    """

    exposure: float | tuple[float, float] = Field(
        2.0,
        description="factor on the light of each pixel, above 0; or a range, from which it is drawn for each image",
        examples=[1.5, (1.0, 3.0)],
    )

    def sample(self, keys: Keys, grid: Grid) -> Operator:
        low, high = self.exposure if isinstance(self.exposure, tuple) else (self.exposure, self.exposure)
        if not 0 < low <= high:
            raise ValueError("saturation: exposure should be above 0, the lower bound first")
        return Clip(low + (high - low) * keys.uniform("exposure").double(), grid)


class Converter(NoiseLaw):
    """An analog-to-digital converter of `bits` bits on [-1, 1]: read noise, then the nearest of `2^bits` values.

    The lowest and the highest value also stand for everything beyond: the likelihood of a saturated value is the probability of all
    values above (Tobin 1958).
    """

    bits: int = Field(3, ge=1, le=12, description="bits of a measured value")
    read: float = Field(0.1, gt=0, le=10, description="standard deviation of the read noise; images are in [-1, 1]")

    @property
    def step(self) -> float:
        return 2 / (2**self.bits - 1)

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        noisy = clean + self.read * keys.normal("read", *clean.shape[1:]).to(clean)
        return ((noisy.clamp(-1, 1) + 1) / self.step).round() * self.step - 1

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        y, end = y.double(), 1 - self.step / 4
        low = torch.where(y < -end, -50.0, (y - self.step / 2 - clean.double()) / self.read)
        high = torch.where(y > end, 50.0, (y + self.step / 2 - clean.double()) / self.read)
        return log_mass(low, high).to(clean)

    def variance(self, clean: Tensor) -> Tensor:
        """The mean squared difference from the noiseless value, by the probability of each measured value."""
        total, levels = torch.zeros_like(clean, dtype=torch.float64), 2**self.bits
        for k in range(levels):
            y = torch.full_like(total, -1 + k * self.step)
            total += self.log_likelihood(y, clean.double()).exp() * (y - clean.double()).square()
        return total.to(clean)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"saturation": Saturation, "jpeg": Jpeg}


@hookimpl
def invkit_noises() -> Mapping[str, type[NoiseLaw]]:
    return {"converter": Converter}
