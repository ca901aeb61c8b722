"""Motion blur: the picture moves along a straight line while it is exposed."""

import math
from typing import Literal

import torch
from torch import Tensor

from invkit.api import Convolution, Field, Grid, Keys, LinearOperator
from invkit_blur.base import Blur

POINTS = 16  # of the line, for every cell that it is long


class MotionBlur(Blur):
    """Move the picture evenly along a line during the exposure; beyond its border it goes on periodically."""

    length: float = Field(0.2, gt=0, le=1, description="length of the line, as a share of the shorter side")
    angle: float | Literal["random"] = Field(
        "random", description="degrees from the horizontal, counterclockwise; or random, drawn for each picture"
    )

    @property
    def resolution_law(self) -> float:
        return 0.05

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        if self.angle == "random":
            way = keys.normal("way", 2).double()
            way = way / way.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
        else:
            turn = math.radians(self.angle)
            way = torch.tensor([[-math.sin(turn), math.cos(turn)]], dtype=torch.float64, device=keys.state.device)
        return Convolution.of(len(keys), grid, _line(way, self.length / grid.cell, grid), self.cutoff)


def _line(
    way: Tensor,  # (K, 2) float64: unit vectors
    length: float,  # in cells
    grid: Grid,
) -> Tensor:
    """The kernels (K, H, W): cell averages of a picture of square cells, averaged along the line (a tent each axis)."""
    count = POINTS * math.ceil(length + 1)
    t = ((torch.arange(count, dtype=torch.float64, device=way.device) + 0.5) / count - 0.5) * length
    tents = []
    for axis, n in enumerate(grid.shape):
        place = torch.arange(n, dtype=torch.float64, device=way.device)
        away = (place - way[:, axis, None, None] * t[:, None] + n / 2).remainder(n) - n / 2  # (K, count, n)
        tent = (1 - away.abs()).clamp(min=0)
        tents.append(tent / tent.sum(2, keepdim=True))
    return tents[0].mT @ tents[1] / count
