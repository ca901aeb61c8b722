"""TDS: sequential Monte Carlo with twisted proposals (Wu et al. 2023), exact in the limit of many particles and levels."""

import warnings
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.least_squares import dot
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.mmps import Matched
from invkit.reconstructors.zeroshot.prior import Prior

DEGENERATE = 0.1  # of the particles beyond the first: fewer effective ones are reported


class Tds(Solver):
    """Twisted diffusion sampler (Wu et al. 2023, algorithm 1): one draw from weighted particles for each sample.

    The twisting function is `exp(-(y - A D)^T (A V A^T + sigma_y^2)^-1 (y - A D) / 2)` with the covariance V of `x_0` given x as
    in `mmps`. Proposals are ancestral steps to the denoised image of `mmps`, and the weights correct for what they differ from
    steps of the prior. Particles are resampled systematically where fewer than half of them are effective. The last step ends in
    the denoised image of `mmps`, so that the lowest level should be small.
    """

    title: ClassVar[str] = "tds"
    calls: int = Field(
        1000, ge=2, le=1_000_000, description="maximum number of network calls per sample, of all particles"
    )
    levels: Levels = Levels(sigma_max=20, sigma_min=0.04)
    particles: int = Field(8, ge=1, le=4096, description="number of particles for each sample")
    products: int = Field(3, ge=1, description="vector-Jacobian products at each noise level, as in `mmps`")

    @property
    def cost(self) -> int:
        return self.particles * (1 + self.products)

    @property
    def states(self) -> int:
        return self.particles

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        p, several, sigmas = self.particles, measurement.repeat(self.particles), levels.tolist()
        many = replace(noise, keys=noise.keys.fork(p))  # of all particles, those of particle 0 first
        x = start(prior, measurement, many, sigmas[0])
        weights = torch.zeros(p, len(measurement), dtype=torch.float64, device=x.device)  # logarithms
        twist, least = torch.zeros_like(weights), torch.full_like(weights[0], p)
        for i, (here, there) in enumerate(pairwise(sigmas)):
            found = Matched.of(prior, several, x, here, self.products)
            twisted = -found.mahalanobis.double().view(p, -1) / 2
            weights = weights + twisted - twist
            least = torch.minimum(least, _effective(weights))
            order, weights = _resampled(weights, noise.keys.uniform(f"resample{i}"))
            x, clean, gradient = (_picked(t, order) for t in (x, found.clean, found.gradient))
            twist, ratio = twisted.gather(0, order), (there / here) ** 2
            push = (1 - ratio) * here**2 * gradient
            shift = prior.covariance(push)  # of the proposal: by C push
            x = ratio * x + (1 - ratio) * clean + shift
            if there == 0 and measurement.noise.white is None:
                exact = several.log_likelihood(several.operator.forward(x))
                weights = weights + exact.double().view(p, -1) - twist
            if there > 0:
                std, n = there * (1 - ratio) ** 0.5, many(f"step{i}")
                x = x + std * n
                weights = weights - (dot(push, n) / std + dot(push, shift) / (2 * std**2)).double().view(p, -1)
        if float(least.mean()) - 1 < DEGENERATE * (p - 1):
            warnings.warn(
                f"tds: at its worst noise level a sample has {float(least.mean()):.0f} effective particles of {p}; "
                "more `particles`, `products` or steps (`calls`) make it more accurate",
                stacklevel=2,
            )
        return _picked(x, _systematic(weights, noise.keys.uniform("last"), 1))


def _effective(weights: Tensor) -> Tensor:
    """Effective number of particles (B,), from the logarithms of their weights (P, B)."""
    return (2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp()


def _systematic(weights: Tensor, uniform: Tensor, count: int) -> Tensor:
    """`count` particles (count, B) in proportion to their weights (P, B), from uniform numbers (B,)."""
    positions = (uniform.double()[:, None] + torch.arange(count, device=weights.device)) / count
    below = weights.softmax(0).cumsum(0).T.contiguous()
    return torch.searchsorted(below, positions, right=True).clamp(max=len(weights) - 1).T


def _resampled(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Particles (P, B) and the logarithms of their weights, resampled where fewer than half are effective."""
    kept = torch.arange(len(weights), device=weights.device)[:, None].expand_as(weights)
    few = _effective(weights) < len(weights) / 2
    return torch.where(few, _systematic(weights, uniform, len(weights)), kept), torch.where(few, 0, weights)


def _picked(t: Tensor, order: Tensor) -> Tensor:
    """Chosen particles (P', B) of (P * B, C, H, W), those of particle 0 first: (P' * B, C, H, W)."""
    b = order.shape[1]
    return t[(order * b + torch.arange(b, device=t.device)).flatten()]
