"""Motion blur along a straight line."""

import math
from typing import Literal

import torch
from torch import Tensor

from invkit.api import Convolution, Field, Grid, Keys, LinearOperator
from invkit_blur.base import Blur

POINTS = 16  # of quadrature per cell of the length of the line


class MotionBlur(Blur):
    """Average the image over a uniform motion along a line, with periodic boundary.

    `y(p) = 1 / L integral x(p + s t) ds` over s from -L / 2 to L / 2, with L the `length` and t the unit vector of `angle`.
    """

    length: float = Field(0.2, gt=0, le=1, description="length of the line, relative to the shorter side")
    angle: float | Literal["random"] = Field(
        "random", description="degrees from the horizontal, counterclockwise; or random, drawn for each image"
    )

    @property
    def resolution_law(self) -> float:
        return 0.05

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        if self.angle == "random":
            direction = keys.normal("way", 2).double()
            direction = direction / direction.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
        else:
            angle = math.radians(self.angle)
            direction = torch.tensor([[-math.sin(angle), math.cos(angle)]], dtype=torch.float64, device=keys.device)
        return Convolution.of(len(keys), grid, _line(direction, self.length / grid.cell, grid), self.cutoff)


def _line(
    direction: Tensor,  # (K, 2) float64: unit vectors, row then column
    length: float,  # in cells
    grid: Grid,
) -> Tensor:
    """Kernels (K, H, W): the average over the line of a hat function of one cell width in each axis, periodic."""
    count = POINTS * math.ceil(length + 1)
    t = ((torch.arange(count, dtype=torch.float64, device=direction.device) + 0.5) / count - 0.5) * length
    hats = []
    for axis, n in enumerate(grid.shape):
        position = torch.arange(n, dtype=torch.float64, device=direction.device)
        distance = (position - direction[:, axis, None, None] * t[:, None] + n / 2).remainder(
            n
        ) - n / 2  # (K, count, n)
        hat = (1 - distance.abs()).clamp(min=0)
        hats.append(hat / hat.sum(2, keepdim=True))
    return hats[0].mT @ hats[1] / count
