"""Mixtures of Gaussian fields: samples, component weights of an image and the exact denoiser, in closed form."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian.basis import Basis, dct, idct
from invkit.physics.gaussian.field import GaussianField
from invkit.physics.gaussian.kriging import NUGGET

Wave = tuple[int, int, float]  # half-cycles along the height and the width, and amplitude


@dataclass(frozen=True)
class Component:
    """A Gaussian field about a mean image: `m + scale (f - E f)`, with samples f of `field`.

    The mean image is the sum of the field's mean colour and of cosine waves, the same in all channels.
    """

    field: GaussianField
    weight: float = 1.0  # relative to those of the other components
    waves: tuple[Wave, ...] = ()
    scale: float = 1.0

    def mean(self, grid: Grid, like: Tensor) -> Tensor:
        """The mean image (C, H, W)."""
        mean = self.field.centre(grid, like).expand(grid.picture)
        for k, l, amplitude in self.waves:
            row, column = (
                torch.cos(math.pi * wave * (torch.arange(n, device=like.device, dtype=torch.float64) + 0.5) / n)
                for wave, n in ((k, grid.height), (l, grid.width))
            )
            mean = mean + (amplitude * row[:, None] * column).to(like)
        return mean

    def sample(self, keys: Keys, grid: Grid, label: str) -> Tensor:
        """Samples (B, C, H, W)."""
        f = self.field.sample(keys, grid, label)
        if not self.waves and self.scale == 1:
            return f
        return self.mean(grid, f) + self.scale * (f - self.field.centre(grid, f))

    def variance(self, grid: Grid) -> float:
        """Variance of a pixel about the mean image, as a mean over pixels."""
        return (self.scale * self.field.pixel_std(grid)) ** 2


@dataclass(frozen=True)
class GaussianMixture:
    """A distribution of images: one of some components, chosen at random with their weights."""

    components: tuple[Component, ...]

    @classmethod
    def of(cls, law: "GaussianField | GaussianMixture") -> "GaussianMixture":
        """A mixture, or a field as a mixture of one component."""
        return law if isinstance(law, GaussianMixture) else cls((Component(law),))

    @property
    def weights(self) -> Tensor:
        """(M,) float64, of sum 1."""
        weights = torch.tensor([component.weight for component in self.components], dtype=torch.float64)
        return weights / weights.sum()

    def centre(self, grid: Grid, like: Tensor) -> Tensor:
        """E[x] (C, H, W)."""
        means = torch.stack([component.mean(grid, like) for component in self.components])
        return torch.einsum("m,mchw->chw", self.weights.to(means), means)

    def pixel_std(self, grid: Grid) -> float:
        """Standard deviation of a pixel about E[x], as a root mean square over pixels."""
        within, between = _variances(self, grid)
        return math.sqrt(within + between)

    def sample(self, keys: Keys, grid: Grid, label: str = "field") -> Tensor:
        """Samples (B, C, H, W), keyed as those of fields."""
        chosen = choose(self.weights.to(keys.device).expand(len(keys), -1), keys)
        x = torch.empty(len(keys), *grid.picture, dtype=torch.float32, device=keys.device)
        for i in chosen.unique().tolist():
            places = (chosen == i).nonzero()[:, 0]
            x[places] = self.components[i].sample(keys[places], grid, label).to(x)
        return x

    def responsibilities(self, x: Tensor) -> Tensor:
        """Posterior weights of the components given whole images (B, C, H, W): (B, M) float64.

        Pixels count as measured with noise, whose variance is `NUGGET` times the mean variance of a pixel in a component.
        """
        grid = Grid(x.shape[2], x.shape[3], x.shape[1])
        return self._separated(x, grid, NUGGET * _variances(self, grid)[0])[0].softmax(1)

    def denoise(self, x: Tensor, variance: float) -> Tensor:
        """`E[x_0 | x]` for `x = x_0 + e` (B, C, H, W) with white noise e of a variance; differentiable in x.

        A mixture of Wiener filters, in the basis of each component: with the covariance `C_i` of the pixels,
        `sum_i r_i (m_i + C_i (C_i + variance)^-1 (x - m_i))`, `r_i` proportional to `w_i N(x; m_i, C_i + variance)`.
        Raises Unavailable for fields on a larger domain, which are not diagonal in a basis of the image.
        """
        logs, estimates = self._separated(x, Grid(x.shape[2], x.shape[3], x.shape[1]), variance)
        shares = logs.softmax(1).unbind(1)
        total: dict[Basis, Tensor] = {}
        for component, share, modes in zip(self.components, shares, estimates, strict=True):
            basis = component.field.basis
            total[basis] = total.get(basis, 0.0) + share.view(-1, 1, 1, 1) * modes
        return torch.stack([idct(modes, basis) for basis, modes in total.items()]).sum(0).to(x)

    def _separated(self, x: Tensor, grid: Grid, variance: float) -> tuple[Tensor, list[Tensor]]:
        """`log w_i N(x; m_i, C_i + variance)` up to a constant (B, M), and the modes of each component's mean (B, C, H, W)."""
        x, logs, estimates = x.double(), [], []
        images = {basis: dct(x, basis) for basis in {component.field.basis for component in self.components}}
        for weight, component in zip(self.weights.tolist(), self.components, strict=True):
            if component.field.margin(grid):
                raise Unavailable("the exact denoiser requires fields without padding")
            powers, colours = _colour_modes(component.field, grid, x.device)
            power, basis = powers * component.scale**2, component.field.basis
            mean = dct(component.mean(grid, x), basis)
            u = (colours * (images[basis] - mean).unsqueeze(2)).sum(1)  # faster than many small products
            total = power + variance
            logs.append(math.log(weight) - 0.5 * ((u.square() / total).sum((1, 2, 3)) + total.log().sum()))
            estimates.append(mean + (colours * (power / total * u).unsqueeze(1)).sum(2))
        return torch.stack(logs, 1), estimates


def choose(
    weights: Tensor,  # (B, M), of sum 1
    keys: Keys,
) -> Tensor:
    """An index for each item (B,), drawn with its weights."""
    u = keys.child("component").uniform("u", 1).double()
    return (u >= weights.cumsum(1)[:, :-1]).sum(1)


@lru_cache(maxsize=64)
def _variances(mixture: GaussianMixture, grid: Grid) -> tuple[float, float]:
    """Mean variances of a pixel, over pixels: within the components, and of their means."""
    weights, like = mixture.weights, torch.empty(0, dtype=torch.float64)
    within = [component.variance(grid) for component in mixture.components]
    means = torch.stack([component.mean(grid, like) for component in mixture.components])
    apart = (means - mixture.centre(grid, like)).square().mean((1, 2, 3))
    return float(weights @ torch.tensor(within, dtype=torch.float64)), float(weights @ apart)


@lru_cache(maxsize=64)
def _colour_modes(field: GaussianField, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Powers of the modes (C, H, W) of the pixels in the eigenvectors (colour, C, H, W) of their colour covariances, float64."""
    values, vectors = torch.linalg.eigh(field.spectrum(grid).cpu().permute(2, 3, 0, 1) / grid.area)
    return values.clamp(min=0).permute(2, 0, 1).to(device), vectors.permute(2, 3, 0, 1).contiguous().to(device)
