"""DAPS: each noise level starts from a draw of the image given the data (Zhang et al. 2024)."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from invkit.diffusion.samplers import Dpmpp2M
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.physics.operators.least_squares import ridge
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.prior import Prior

LOWEST = 0.01  # noise level at which the flow ends, as published; at most half of the level at which it starts


class Daps(Solver):
    """Decoupled annealing posterior sampling (Zhang et al. 2024, algorithm 1).

    At each noise level the probability-flow ODE gives an image u, the data a draw of `x_0` from the density proportional to
    `N(x_0; u, r^2) N(y; A x_0, sigma_y^2)`, and fresh noise of the next level is added to it. The published Langevin steps are
    replaced by an exact draw: with e of the noise of the data and v from `N(u, r^2)` it is
    `v + A^T (A A^T + sigma_y^2 / r^2)^-1 (y + e - A v)`.
    """

    title: ClassVar[str] = "daps"
    levels: Levels = Levels(sigma_max=2, sigma_min=0.1)
    ode_steps: int = Field(1, ge=1, description="steps of the probability-flow ODE at each noise level; one step is D")
    spread: float = Field(0.85, gt=0, description="r relative to the standard deviation of the level's noise")

    @property
    def cost(self) -> int:
        return self.ode_steps

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, y, d = linear(measurement.operator, self.title), measurement.y, prior.noise_std(measurement.grid)
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            flow = Levels(sigma_max=here, sigma_min=min(LOWEST, here / 2)).of(self.ode_steps)
            u = Dpmpp2M().walk(prior.denoise, noise, flow, x)
            r = self.spread * here * d
            e = measurement.sigma * noise.keys.normal(f"data{i}", *operator.range_shape).to(y)
            v = u + r / d * noise(f"draw{i}")
            r_y = y + operator.measured(e) - operator.forward(v)
            x = v + ridge(operator, r_y, (measurement.sigma / r) ** 2) + there * noise(f"step{i}")
        return x
