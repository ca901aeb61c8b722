"""The exact denoiser of the posterior of a mixture of Gaussian fields, in place of a network, and how far samples are from it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import HeavyTailedFields, MixtureFields, SampledImages
from invkit.diffusion.samplers import Sampler
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from support.dense import conditioned

GRID = Grid(10, 10, 1)
COUNT = 4000
MODES, TAILS = MixtureFields(colors=1), HeavyTailedFields(colors=1)


@dataclass(frozen=True, eq=False)
class ExactMixture:
    """One image of `law` observed at a tenth of its cells, in units of the standard deviation of the images."""

    law: GaussianMixture
    measurement: Measurement

    @classmethod
    def of(cls, seed: int, data: SampledImages = MODES, sigma: float = 0.5) -> "ExactMixture":
        law, keys = GaussianMixture.of(data.law()), Keys.of(seed, "exact mixture", [0])
        mask = Mask((keys.permutation("points", GRID.pixels) < GRID.pixels // 10).view(1, 1, *GRID.shape), 1)
        return cls(law, measure(mask, law.sample(keys, GRID).double(), Noise(sigma=sigma), keys))

    @property
    def unit(self) -> float:
        return self.law.pixel_std(GRID)

    @cached_property
    def weights(self) -> Tensor:
        return MixturePosterior(self.law, self.measurement).weights[0]

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Means (M, N) and covariances (M, N, N) of the components given the measurement, in units."""
        m, n = self.measurement, GRID.pixels
        eye = torch.eye(n, dtype=torch.float64).view(n, *GRID.picture)
        matrix = m.operator.repeat(n).forward(eye).flatten(1).T[None]
        found = [
            conditioned(
                part.mean(GRID, eye).flatten(), part.scale**2 * part.field.covariance(eye, GRID).view(n, n),
                m.y.flatten(1)[:, :n], matrix, m.sigma,
            )
            for part in self.law.components
        ]  # fmt: skip
        means, covariances = (torch.cat(part) for part in zip(*found, strict=True))
        return means / self.unit, covariances / self.unit**2

    @cached_property
    def _modes(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.parts[1])
        return values.clamp(min=0), vectors

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """`E[x0 | y, x0 + sigma n]` for white n and states x (B, 1, H, W) float64."""
        (means, _), (values, vectors) = self.parts, self._modes
        logs, estimates = [], []
        for weight, mean, power, basis in zip(self.weights, means, values, vectors, strict=True):
            u, total = (x.flatten(1) - mean) @ basis, power + sigma**2
            logs.append(weight.log() - 0.5 * (u.square() / total + total.log()).sum(1))
            estimates.append(mean + (power / total * u) @ basis.T)
        shares = torch.stack(logs, 1).softmax(1)
        return torch.einsum("bm,mbn->bn", shares, torch.stack(estimates)).view_as(x)

    def samples(self, method: Sampler, levels: Tensor, count: int = COUNT) -> Tensor:
        keys = Keys.of(1, "samples", range(count))
        return method(self.denoise, lambda label: keys.normal(label, *GRID.picture).double(), levels)

    def draws(self, seed: int, count: int = COUNT) -> Tensor:
        """Exact draws (count, 1, H, W)."""
        return MixturePosterior(self.law, self.measurement).sample(Keys.of(seed, "draws", [0]), count)[:, 0] / self.unit

    def errors(self, x: Tensor) -> tuple[float, float, float]:
        """Largest error of a weight, relative error of the covariance, and energy distance relative to the mean distance."""
        shares = self.law.responsibilities(x * self.unit).mean(0)
        means, covariances = self.parts
        mean = self.weights @ means
        between = torch.einsum("m,mi,mj->ij", self.weights, means - mean, means - mean)
        covariance = torch.einsum("m,mij->ij", self.weights, covariances) + between
        off = (torch.cov(x.double().flatten(1).T) - covariance).norm() / covariance.norm()
        return (
            float((shares - self.weights).abs().max()),
            float(off),
            energy_distance(x.double(), self.draws(2).double()),
        )


def energy_distance(x: Tensor, y: Tensor) -> float:
    """`2 E|x - y| - E|x - x'| - E|y - y'|` over `E|x - y|`, unbiased (Székely & Rizzo 2013)."""
    x, y = x.flatten(1), y.flatten(1)
    across = torch.cdist(x, y).mean()
    within = [torch.cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float((2 * across - within[0] - within[1]) / across)
