"""MMPS: the covariance of the denoised image from the denoiser's Jacobian (Rozet et al. 2024)."""

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from invkit.diffusion.samplers import Dpmpp2M
from invkit.physics.measurement import Measurement
from invkit.physics.operators.least_squares import dot, times
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.prior import Prior, denoise_with_vjp, working


class Matched(NamedTuple):
    """`p(x_0 | x)` as the Gaussian `N(D, V)` with `V = sigma^2 C J^T`, conditioned on the data."""

    clean: Tensor  # (B, C, H, W): D
    gradient: Tensor  # (B, C, H, W): J^T A^T K^-1 (y - A D) with K = A V A^T + sigma_y^2
    mahalanobis: Tensor  # (B,): (y - A D)^T K^-1 (y - A D)

    @classmethod
    def of(cls, prior: Prior, measurement: Measurement, x: Tensor, sigma: float, products: int) -> "Matched":
        """`K^-1` by conjugate gradients (Hestenes & Stiefel 1952) of as many vector-Jacobian products."""
        operator = measurement.operator
        clean, vjp = denoise_with_vjp(prior, x, sigma)
        residual, variance = working(measurement, operator.forward(clean))
        direction, rho = residual, dot(residual, residual)
        gradient, distance = torch.zeros_like(clean), torch.zeros_like(rho)
        for _ in range(products):
            pulled = vjp(operator.vjp(clean, direction))  # A^T where A is linear, else of A linearised at D
            image = sigma**2 * operator.jvp(clean, prior.covariance(pulled)) + variance * direction
            curvature = dot(direction, image)
            step = torch.where(
                curvature > 0, rho / curvature.clamp(min=1e-30), 0
            )  # J of a network need not be symmetric
            gradient, distance = gradient + times(step, pulled), distance + step * rho
            residual = residual - times(step, image)
            new = dot(residual, residual)
            direction = residual + times(torch.where(rho > 0, new / rho.clamp(min=1e-30), 0), direction)
            rho = new
        return cls(clean, gradient, distance)


class Mmps(Solver):
    """Moment matching posterior sampling (Rozet et al. 2024, section 4.2; Boys et al. 2023: TMPD).

    The denoised image becomes `D + V A^T (A V A^T + sigma_y^2)^-1 (y - A D)`, where `V = sigma^2 C J^T` is the covariance of
    `x_0` given x. For a Gaussian prior this is `E[x_0 | x, y]`, if the products suffice. It is sampled by DPM-Solver++ (2M).
    """

    title: ClassVar[str] = "mmps"
    levels: Levels = Levels(sigma_max=40, sigma_min=0.04)
    products: int = Field(
        3, ge=1, description="vector-Jacobian products (steps of conjugate gradients) at each noise level"
    )

    @property
    def cost(self) -> int:
        return 1 + self.products

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        def guided(x: Tensor, sigma: float) -> Tensor:
            found = Matched.of(prior, measurement, x, sigma, self.products)
            return found.clean + sigma**2 * prior.covariance(found.gradient)

        return Dpmpp2M().walk(guided, noise, levels, start(prior, measurement, noise, float(levels[0])))
