"""The conditional model: the residual law around a fill, learned by one network."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from invkit.degradation import Measurement
from invkit.device import Precision, autocast
from invkit.diffusion import Diffusion, Sample
from invkit.field import FittedField
from invkit.gaussian import GaussianPosterior
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.nn.base import Fill, Network


@dataclass(frozen=True, eq=False)
class Condition:
    """What the network knows of a measurement."""

    fill: Tensor  # (B, C, H, W): the picture the residual is counted from
    inputs: Tensor  # (B, 2 C + 1, H, W): fill, back-projection, mask
    hidden: Tensor | None  # (B, 1 or C, H, W) float: 0 where a pixel is known exactly, None where none is

    def repeat(self, count: int) -> "Condition":
        hidden = None if self.hidden is None else self.hidden.repeat(count, 1, 1, 1)
        return Condition(self.fill.repeat(count, 1, 1, 1), self.inputs.repeat(count, 1, 1, 1), hidden)


def _grid(condition: Condition) -> Grid:
    channels, height, width = condition.fill.shape[1:]
    return Grid(height, width, channels)


def embed(sigma: Tensor, size: int) -> Tensor:
    """Sines and cosines of ln(sigma) / 4 at geometric frequencies: (B,) to (B, size)."""
    phase = sigma.log().view(-1, 1) / 4 * torch.logspace(0, 1.5, size // 2, device=sigma.device)
    return torch.cat([phase.cos(), phase.sin()], 1)


class ConditionalModel(nn.Module):
    """`denoise` in residual units: `x = fill + scale z`; at noise level infinity it returns the mean of z given y.

    `prior` is the field behind the fill and the rows of linear reconstruction; `scale` is the residual's deviation.
    Both are measured on the training pictures before the first step and travel with the weights.
    """

    def __init__(
        self, settings: Network, diffusion: Diffusion, prior: FittedField, scale: float, precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.settings, self.diffusion, self.prior = settings, diffusion, prior
        self.scale, self.precision = scale, precision
        self.channels = len(prior.color)
        self.network = settings.build(3 * self.channels + 1, self.channels)
        self.token = nn.Parameter(torch.zeros(settings.embedding_size))

    def condition(self, measurement: Measurement) -> Condition:
        """Everything that is computed once per measurement; no gradient flows here."""
        with torch.no_grad():
            fill = fill_in(self.settings.fill, self.prior, measurement)
            hidden = None
            seen = torch.ones_like(fill[:, :1])
            if measurement.observed is not None:
                seen = measurement.observed.to(fill).mean(1, keepdim=True)
                if measurement.sigma == 0:
                    hidden = (~measurement.observed).to(fill)
            inputs = torch.cat([fill, measurement.operator.pinv(measurement.y), seen], 1)
        return Condition(fill, inputs, hidden)

    def raw(
        self, z: Tensor, sigma: Tensor, condition: Condition, into: Tensor, rng: torch.Generator | None = None
    ) -> Tensor:
        """The network's output (B, C, H, W) float32 for a noisy residual z; z is ignored where sigma (B,) is infinite."""
        mean_wanted = sigma.isinf()
        state = torch.where(mean_wanted.view(-1, 1, 1, 1), 0, z) * into
        if condition.hidden is not None:
            state = state * condition.hidden
        embedding = torch.where(mean_wanted[:, None], self.token, embed(sigma.clamp(max=1e6), len(self.token)))
        x = torch.cat([state, condition.inputs], 1).contiguous(memory_format=torch.channels_last)
        with autocast(x.device, self.precision):
            return self.network(x, embedding, rng).float()

    def denoise(self, z: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """E[z_0 | z, y] (B, C, H, W) at noise levels sigma (B,), infinity included."""
        c = self.diffusion.preconditioning.coefficients(sigma * self._pixel_noise(condition))
        out = c.skip * torch.where(sigma.isinf().view(-1, 1, 1, 1), 0, z) + c.out * self.raw(
            z, sigma, condition, c.into
        )
        return out if condition.hidden is None else out * condition.hidden

    def _pixel_noise(self, condition: Condition) -> float:
        """Pixel deviation of the diffusion's noise on this grid."""
        return self.diffusion.field.deviation(_grid(condition))

    def loss(
        self,
        x: Tensor,  # (B, C, H, W)
        measurement: Measurement,
        keys: Keys,
        *,
        mean_share: float,
        weight: Tensor | None = None,  # (B, 1 or C, H, W): where the loss is taken; None for all that is hidden
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Denoising loss of every picture, (B,): the mean over the hidden domain, weighted by `1 / c_out^2`.

        A share of the batch is trained at noise level infinity, where the target is the posterior mean.
        """
        condition = self.condition(measurement)
        grid = measurement.grid
        target = (x - condition.fill) / self.scale
        sigma = self.diffusion.schedule.train_sigma(keys.uniform("level"))
        sigma = torch.where(keys.uniform("mean") < mean_share, math.inf, sigma)
        noise = self.diffusion.field.sample(keys.child("diffusion"), grid)
        z = target + torch.where(sigma.isinf(), 0, sigma).view(-1, 1, 1, 1) * noise
        c = self.diffusion.preconditioning.coefficients(sigma * self._pixel_noise(condition))
        wanted = (target - c.skip * z) / c.out
        error = (self.raw(z, sigma, condition, c.into, rng) - wanted).square()
        if weight is None:
            weight = condition.hidden
        if weight is None:
            return error.mean((1, 2, 3))
        weight = weight.expand_as(error)
        return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)

    @torch.no_grad()
    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W) by one network call."""
        condition = self.condition(measurement)
        infinity = torch.full((len(measurement),), math.inf, device=condition.fill.device)
        return condition.fill + self.scale * self.denoise(torch.zeros_like(condition.fill), infinity, condition)

    @torch.no_grad()
    def sample(self, measurement: Measurement, keys: Keys, count: int, settings: Sample, chunk: int = 256) -> Tensor:
        """Posterior samples (K, B, C, H, W), keyed by picture; at most `chunk` pictures are in the network at once."""
        condition, keys = self.condition(measurement), keys.fork(count)
        levels = self.diffusion.schedule.levels(settings.steps)
        parts = max(1, chunk // len(measurement))
        draws = []
        for first in range(0, count, parts):
            n = min(parts, count - first) * len(measurement)
            start = first * len(measurement)
            draws.append(self._draw(condition.repeat(n // len(measurement)), keys[start : start + n], levels, settings))
        z = torch.cat(draws).unflatten(0, (count, -1))
        return condition.fill + self.scale * z

    def _draw(self, condition: Condition, keys: Keys, levels: Tensor, settings: Sample) -> Tensor:
        grid = _grid(condition)

        def denoise(z: Tensor, sigma: float) -> Tensor:
            return self.denoise(z, torch.full((len(z),), sigma, device=z.device), condition)

        def noise(label: str) -> Tensor:
            return self.diffusion.field.sample(keys.child(label), grid)

        return settings.method(denoise, noise, levels)


def fill_in(fill: Fill, prior: FittedField, measurement: Measurement) -> Tensor:
    """The picture a model starts from: the Gaussian posterior mean, the mean colour, or zero where nothing is known."""
    if fill == "gaussian":
        return GaussianPosterior(prior, measurement).mean()
    operator, y = measurement.operator, measurement.y
    if fill == "zero":
        return operator.pinv(y)
    centre = prior.centre(measurement.grid, y).expand(len(y), *measurement.grid.picture)
    return centre + operator.pinv(y - operator.forward(centre))
