"""Priors whose noise is white: the denoiser of a Gaussian field or of a mixture of fields, or any other denoiser."""

from abc import ABC
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField, WhiteField, dct, idct
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.reconstructors.zeroshot.prior import Prior


@dataclass(frozen=True)
class WhiteNoisePrior(Prior, ABC):
    """A prior with the noise of a stationary field, white noise by `white`; mean and standard deviation are those of `data`."""

    data: GaussianField | GaussianMixture
    field: GaussianField  # of the noise
    scale: float = 1.0  # factor on the noise

    @classmethod
    def white(cls, data: GaussianField | GaussianMixture, reference: Grid) -> Self:
        """The prior with white noise, whose unit is the pixel standard deviation of the images on the reference grid."""
        return cls(data, WhiteField(reference=min(reference.shape)), data.pixel_std(reference))

    def noise(self, keys: Keys, grid: Grid, label: str) -> Tensor:
        return self.scale * self.field.sample(keys, grid, label)

    def covariance(self, x: Tensor) -> Tensor:
        return self.scale**2 * self.field.covariance(x, Grid(x.shape[2], x.shape[3], x.shape[1]))

    def max_eigenvalue(self, grid: Grid) -> float:
        spectrum = self.field.spectrum(grid).permute(2, 3, 0, 1)
        return self.scale**2 * float(torch.linalg.eigvalsh(spectrum).max()) / grid.area

    def noise_std(self, grid: Grid) -> float:
        return self.scale * self.field.pixel_std(grid)

    def std(self, grid: Grid) -> float:
        return self.data.pixel_std(grid)

    def mean(self, grid: Grid) -> Tensor:
        return self.data.centre(grid, torch.empty(0, dtype=torch.float32)).expand(1, *grid.picture)


@dataclass(frozen=True)
class FieldPrior(WhiteNoisePrior):
    """`D(x) = m + S (S + sigma^2 scale^2 L)^-1 (x - m)` in every cosine mode, with the colour covariances S of images, L of noise.

    The exact denoiser of samples of the field `data`, and the best linear one of images with the same second moments.
    """

    data: GaussianField

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        grid = Grid(x.shape[2], x.shape[3], x.shape[1])
        gain = _gain(self.data, self.field, sigma * self.scale, grid, x.device, x.dtype)
        mean = self.mean(grid).to(x)
        return mean + idct(torch.einsum("cdhw,bdhw->bchw", gain, dct(x - mean)))


@dataclass(frozen=True)
class MixturePrior(WhiteNoisePrior):
    """A mixture of Wiener filters: the exact denoiser of a mixture of fields without padding, for white noise."""

    data: GaussianMixture

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        return self.data.denoise(x, (sigma * self.noise_std(Grid(x.shape[2], x.shape[3], x.shape[1]))) ** 2)


@lru_cache(maxsize=128)
def _gain(
    data: GaussianField, noise: GaussianField, sigma: float, grid: Grid, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """`S (S + sigma^2 L)^-1` of each mode, (C, C, H, W)."""
    s, l = (f.spectrum(grid).cpu().permute(2, 3, 0, 1) for f in (data, noise))
    return (s @ torch.linalg.inv(s + sigma**2 * l)).permute(2, 3, 0, 1).to(device, dtype)
