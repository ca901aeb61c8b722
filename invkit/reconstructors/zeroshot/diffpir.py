"""DiffPIR: alternates denoising and a proximal step to the data (Zhu et al. 2023)."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.physics.operators.least_squares import ridge
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.prior import Prior


class Diffpir(Solver):
    """DiffPIR (Zhu et al. 2023, algorithm 1): `argmin |y - A u|^2 + rho |u - D|^2` over u, then old and fresh noise is added."""

    title: ClassVar[str] = "diffpir"
    levels: Levels = Levels(sigma_max=4, sigma_min=0.1)
    strength: float = Field(1.0, gt=0, description="lambda: weight of the prior in the data step")
    zeta: float = Field(1.0, ge=0, le=1, description="zeta: share of the noise that is fresh")

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, d = linear(measurement.operator, self.title), prior.noise_std(measurement.grid)
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean = prior.denoise(x, here)  # eq. 12a
            rho = self.strength * (measurement.sigma / (here * d)) ** 2
            nearest = clean + ridge(operator, measurement.y - operator.forward(clean), rho)  # eq. 12b, solved as eq. 13
            old = (x - nearest) / here
            x = nearest + there * ((1 - self.zeta) ** 0.5 * old + self.zeta**0.5 * noise(f"step{i}"))  # eq. 15
        return x
