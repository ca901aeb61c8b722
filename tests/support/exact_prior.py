"""The exact denoiser of a Gaussian field, in place of a network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField, MaternField, WhiteField, dct, idct
from invkit.physics.measurement import Measurement
from invkit.reconstructors.zeroshot import SOLVERS, Prior

MATERN = MaternField(std=0.5, length=0.3, exponent=2.0)
NOISE = WhiteField(std=1.0, reference=16)


@dataclass(frozen=True)
class GaussianPrior(Prior):
    """`D(x) = m + S (S + sigma^2 L)^-1 (x - m)` in every cosine mode, with the colour covariances S of images, L of noise."""

    data: GaussianField
    field: GaussianField = NOISE

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        grid = Grid(x.shape[2], x.shape[3], x.shape[1])
        s, l = (f.spectrum(grid).permute(2, 3, 0, 1) for f in (self.data, self.field))
        gain = (s @ torch.linalg.inv(s + sigma**2 * l)).permute(2, 3, 0, 1).to(x)
        mean = self.mean(grid).to(x)
        return mean + idct(torch.einsum("cdhw,bdhw->bchw", gain, dct(x - mean)))

    def noise(self, keys: Keys, grid: Grid, label: str) -> Tensor:
        return self.field.sample(keys, grid, label)

    def covariance(self, x: Tensor) -> Tensor:
        return self.field.covariance(x, Grid(x.shape[2], x.shape[3], x.shape[1]))

    def max_eigenvalue(self, grid: Grid) -> float:
        spectrum = self.field.spectrum(grid).permute(2, 3, 0, 1)
        return float(torch.linalg.eigvalsh(spectrum).max()) / grid.area

    def noise_std(self, grid: Grid) -> float:
        return self.field.pixel_std(grid)

    def mean(self, grid: Grid) -> Tensor:
        return self.data.mean(grid).float().view(1, -1, 1, 1).expand(1, *grid.picture)

    def std(self, grid: Grid) -> float:
        return self.data.pixel_std(grid)


def last_step(
    name: str, prior: Prior, measurement: Measurement, sigma: float, noise: Tensor, **settings: float
) -> Tensor:
    """One step of a zero-shot solver, from noise level sigma to zero."""
    solver = SOLVERS[name].model_validate({"prior": "exact", **settings})
    return solver.walk(prior, measurement, lambda _: noise, torch.tensor([sigma, 0.0], dtype=torch.float64))
