"""Gaussian blur with a reflecting border, which solves the heat equation on the domain."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Field, Grid, Keys, LinearOperator, Separable
from invkit_blur.base import Blur


class GaussianBlur(Blur):
    """Convolve with a Gaussian; the image is mirrored at its border.

    `y = exp(width^2 Laplace / 2) x`: the cosine of k half-cycles per unit length is multiplied by
    `exp(-(pi k width)^2 / 2)`, the same on every grid.
    """

    width: float = Field(0.05, gt=0, le=1, description="standard deviation, relative to the shorter side")

    @property
    def resolution_law(self) -> float:
        return 1e-5

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        rows, columns = (_matrix(n, self.width / e, keys.device) for n, e in zip(grid.shape, grid.extent, strict=True))
        return Separable(len(keys), grid, rows=rows, columns=columns, cutoff=self.cutoff)


@lru_cache(maxsize=64)
def _matrix(n: int, width: float, device: torch.device) -> Tensor:
    """Matrix (1, n, n) of the blur of `n` cells that cover unit length."""
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * math.sqrt(2 / n)  # orthonormal DCT-II
    cosines[0] /= math.sqrt(2)
    gain = (-(math.pi * k * width).square() / 2).exp()
    return (cosines.T * gain @ cosines)[None].to(device)
