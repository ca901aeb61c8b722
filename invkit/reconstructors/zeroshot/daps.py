"""DAPS: each noise level starts from a draw of the image given the data (Zhang et al. 2024)."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.keys import Keys
from invkit.diffusion.samplers import Dpmpp2M
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator, linear
from invkit.physics.operators.least_squares import dot, ridge, times
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.prior import Prior, working

LANGEVIN, STEP, POWER = 50, 0.25, 5
LOWEST = 0.01  # noise level at which the flow ends, as published; at most half of the level at which it starts


class Daps(Solver):
    """Decoupled annealing posterior sampling (Zhang et al. 2024, algorithm 1).

    At each noise level the probability-flow ODE gives an image u, the data a draw of `x_0` from the density proportional to
    `N(x_0; u, r^2) N(y; A x_0, sigma_y^2)`, and fresh noise of the next level is added to it. The published Langevin steps are
    replaced by an exact draw: with e of the noise of the data and v from `N(u, r^2)` it is
    `v + A^T (A A^T + sigma_y^2 / r^2)^-1 (y + e - A v)`. Where the operator is not linear or the noise not white and Gaussian,
    Langevin steps with the gradient of the likelihood are taken, as published.
    """

    title: ClassVar[str] = "daps"
    levels: Levels = Levels(sigma_max=2, sigma_min=0.1)
    ode_steps: int = Field(1, ge=1, description="steps of the probability-flow ODE at each noise level; one step is D")
    spread: float = Field(0.85, gt=0, description="r relative to the standard deviation of the level's noise")

    @property
    def cost(self) -> int:
        return self.ode_steps

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        d = prior.noise_std(measurement.grid)
        exact = isinstance(measurement.operator, LinearOperator) and measurement.noise.white is not None
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            flow = Levels(sigma_max=here, sigma_min=min(LOWEST, here / 2)).of(self.ode_steps)
            u = Dpmpp2M().walk(prior.denoise, noise, flow, x)
            r = self.spread * here * d
            if exact:
                e = noise.keys.normal(f"data{i}", *measurement.operator.range_shape).to(u)
                given = _given(measurement, u + r / d * noise(f"draw{i}"), e, r)
            else:
                given = _langevin(measurement, u, r, noise.keys.child(f"level{i}"))
            x = given + there * noise(f"step{i}")
        return x


def _given(measurement: Measurement, v: Tensor, e: Tensor, r: float) -> Tensor:
    """The exact draw for a linear operator and white Gaussian noise, from v of `N(u, r^2)` and standard normal e."""
    operator = linear(measurement.operator, "daps")
    r_y = measurement.y + measurement.sigma * operator.measured(e) - operator.forward(v)
    return v + ridge(operator, r_y, (measurement.sigma / r) ** 2)


def _langevin(measurement: Measurement, u: Tensor, r: float, keys: Keys) -> Tensor:
    """`LANGEVIN` steps of Langevin dynamics from u, of `STEP` over the largest curvature of the negative log density.

    That is `1 / r^2` plus the largest `|J n|^2 / (v |n|^2)` over `POWER` steps of the power method, with the least variance v.
    """
    operator = measurement.operator
    _, variance = working(measurement, operator.forward(u))
    n = keys.normal("power", *u.shape[1:]).to(u)
    curvature = torch.zeros_like(n[:, 0, 0, 0])
    for _ in range(POWER):
        n = times(1 / dot(n, n).sqrt().clamp(min=1e-30), n)
        n = operator.vjp(u, operator.jvp(u, n) / variance)
        curvature = dot(n, n).sqrt()
    h, x = STEP / (1 / r**2 + curvature), u
    for k in range(LANGEVIN):
        drift = (u - x) / r**2 + operator.vjp(x, measurement.score(operator.forward(x)))
        x = x + times(h, drift) + times((2 * h).sqrt(), keys.normal(f"langevin{k}", *u.shape[1:]).to(u))
    return x
