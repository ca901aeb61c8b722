"""DPS: gradient of the data misfit through the denoiser (Chung et al. 2023)."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.least_squares import dot, times
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior, denoise_with_vjp, working

NOISE = 0.25  # chosen as the levels are, on posteriors in closed form


class Dps(Solver):
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1): `x - zeta C grad |y - A D(x)|` after each step.

    The norm is the weighted norm of measurements, the gradient that of L2, and C the covariance of the noise divided by its
    largest eigenvalue (the identity for white noise), so that one step size fits all grids and noise fields. A step of the
    published length swings around the data where these say much. It therefore ends at the latest where the posterior density of
    `D + t d` along its direction d is greatest, as in `pigdm`, with a weight of `NOISE` for the noise of the data, times the share
    of the noise that is fresh.
    """

    title: ClassVar[str] = "dps"
    levels: Levels = Levels(sigma_max=14, sigma_min=0.06)
    step: float = Field(0.6, gt=0, description="zeta: length of a step along the normalised gradient, in pixel units")

    @property
    def cost(self) -> int:
        return 2

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, grid = measurement.operator, measurement.grid
        largest, weight = prior.max_eigenvalue(grid), operator.range_weight / grid.area
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean, vjp = denoise_with_vjp(prior, x, here)
            r, variance = working(measurement, operator.forward(clean))
            typical = variance.flatten(1).mean(1)
            norm = (operator.range_weight * dot(r, r)).sqrt().clamp(min=1e-12)
            v = operator.vjp(clean, r)
            descent = prior.covariance(vjp(v))
            image, noisy = operator.jvp(clean, descent), NOISE * typical * weight / here**2
            best = dot(r, image) / (dot(image, image) + noisy * dot(v, descent)).clamp(min=1e-30)
            best = (1 - (there / here) ** 2) ** 0.5 * best.clamp(min=0)
            x = ancestral(x, clean, here, there, noise(f"step{i}"))  # line 6
            x = x + times(
                torch.minimum(self.step * weight / (norm * largest), best), descent
            )  # line 7, zeta_i = zeta / |y - A D|
        return x
