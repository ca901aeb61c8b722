"""DPS: gradient of the data misfit through the denoiser (Chung et al. 2023)."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from invkit.diffusion.samplers import Noise
from invkit.physics.measurement import Measurement
from invkit.reconstructors.zeroshot.base import Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior, denoise_with_vjp


class Dps(Solver):
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1): `x - zeta C grad |y - A D(x)|` after each step.

    The norm is the weighted norm of measurements, the gradient that of L2, and C the covariance of the noise divided by its
    largest eigenvalue (the identity for white noise), so that one step size fits all grids and noise fields.
    """

    title: ClassVar[str] = "dps"
    step: float = Field(0.6, gt=0, description="zeta: length of a step along the normalised gradient, in pixel units")

    @property
    def cost(self) -> int:
        return 2

    def walk(self, prior: Prior, measurement: Measurement, noise: Noise, levels: Tensor) -> Tensor:
        operator, largest = measurement.operator, prior.max_eigenvalue(measurement.grid)
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean, vjp = denoise_with_vjp(prior, x, here)
            r = measurement.y - operator.forward(clean)
            norm = (operator.range_weight * r.square().flatten(1).sum(1)).sqrt().clamp(min=1e-12)
            descent = prior.covariance(vjp(operator.adjoint(r))) / largest
            x = ancestral(x, clean, here, there, noise(f"step{i}"))  # line 6
            x = x + self.step / norm.view(-1, 1, 1, 1) * descent  # line 7, zeta_i = zeta / |y - A D|
        return x
