"""Three correct degradations, from which the mutants are derived."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Operator


@dataclass(frozen=True, eq=False)
class Gain(LinearOperator):
    """`A x = gain * observed * x`."""

    observed: torch.Tensor  # (B, 1, H, W) bool
    gain: torch.Tensor  # (B, 1, 1, 1)
    channels: int

    @property
    def grid(self):
        return Grid(*self.observed.shape[2:], self.channels)

    @property
    def range_shape(self):
        return self.grid.picture

    @property
    def range_weight(self):
        return self.grid.area

    def forward(self, x):
        return x * self.observed * self.gain.to(x.dtype)

    def adjoint(self, y):
        return y * self.observed * self.gain.to(y.dtype)

    def pinv(self, y):
        return y * self.observed / self.gain.to(y.dtype)

    def __len__(self):
        return len(self.observed)


class SomePixels(Degradation):
    """A random mask and a random gain."""

    operator: ClassVar[type[Gain]] = Gain
    share: float = Field(0.5, gt=0, le=1)

    def gain(self, keys: Keys) -> torch.Tensor:
        return 1.5 + keys.uniform("gain", 1, 1, 1)

    def sample(self, keys, grid):
        observed = keys.permutation("pixels", grid.pixels) < max(1, round(self.share * grid.pixels))
        return self.operator(observed.view(-1, 1, *grid.shape), self.gain(keys), grid.channels)


@dataclass(frozen=True, eq=False)
class Blurred(LinearOperator):
    """Periodic convolution with a kernel that is not symmetric and whose spectrum is at least 1/2."""

    kernel: torch.Tensor  # (B, 1, H, W)
    channels: int

    @property
    def grid(self):
        return Grid(*self.kernel.shape[2:], self.channels)

    @property
    def range_shape(self):
        return self.grid.picture

    @property
    def range_weight(self):
        return self.grid.area

    def filter(self, x, fn):
        response = fn(torch.fft.rfft2(self.kernel.to(x.dtype)))
        return torch.fft.irfft2(torch.fft.rfft2(x) * response, s=x.shape[2:])

    def forward(self, x):
        return self.filter(x, lambda response: response)

    def adjoint(self, y):
        return self.filter(y, torch.conj)

    def pinv(self, y):
        return self.filter(y, torch.reciprocal)

    def __len__(self):
        return len(self.kernel)


class Ghost(Degradation):
    """The sum of the image and a blurred, shifted, fainter copy; lengths are relative to the shorter side."""

    operator: ClassVar[type[Blurred]] = Blurred
    width: float = Field(0.1, gt=0, le=1)
    shift: float = Field(0.25, gt=0, lt=1)

    @property
    def resolution_law(self):
        return 0.02

    def cell(self, grid: Grid) -> float:
        return grid.cell

    def sample(self, keys, grid):
        distance = 0
        for axis, cells in enumerate(grid.shape):
            place = (torch.arange(cells) * self.cell(grid) - self.shift) % (cells * self.cell(grid))
            place = torch.minimum(place, cells * self.cell(grid) - place)
            distance = distance + (place**2).view(*[-1, 1][: 2 - axis])
        copy = torch.exp(-distance / (2 * self.width**2))
        kernel = copy / copy.sum() / 2
        kernel[0, 0] += 1
        return self.operator(kernel.expand(len(keys), 1, -1, -1), grid.channels)


@dataclass(frozen=True, eq=False)
class Curve(Operator):
    """`A(x) = tanh(gain x)`, with a derivative in closed form."""

    gain: torch.Tensor  # (B, 1, 1, 1)
    domain: Grid

    @property
    def grid(self):
        return self.domain

    @property
    def range_shape(self):
        return self.grid.picture

    @property
    def range_weight(self):
        return self.grid.area

    def forward(self, x):
        return torch.tanh(self.gain.to(x.dtype) * x)

    def vjp(self, x, v):
        gain = self.gain.to(x.dtype)
        return gain * v * (1 - torch.tanh(gain * x).square())

    def __len__(self):
        return len(self.gain)


class Response(Degradation):
    """A response curve that flattens, with a random gain."""

    operator: ClassVar[type[Curve]] = Curve
    least: float = Field(0.5, gt=0, le=1)

    def gain(self, keys: Keys) -> torch.Tensor:
        return self.least + keys.uniform("gain", 1, 1, 1) / 2

    def sample(self, keys, grid):
        return self.operator(self.gain(keys), grid)
