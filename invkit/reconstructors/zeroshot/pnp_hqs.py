"""PnP-HQS: half-quadratic splitting with a denoiser in place of the proximal operator (Zhang et al. 2021, DPIR)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.physics.operators.least_squares import ridge
from invkit.reconstructors.zeroshot.base import Draws, Levels, PointSolver
from invkit.reconstructors.zeroshot.prior import Prior


class PnpHqs(PointSolver):
    """DPIR (Zhang et al. 2021, algorithm 1): `argmin |y - A x|^2 + alpha |x - z|^2`, then z is x denoised, for falling levels.

    For a Gaussian prior of covariance S and a constant level s the iteration tends to `z = D(x)` of the posterior mean x for the
    prior covariance `(S + s^2 I) / lambda`, that is, as s falls and with `lambda` 1, to the posterior mean itself.
    """

    title: ClassVar[str] = "pnp-hqs"
    levels: Levels = Levels(sigma_max=4, sigma_min=0.1)
    strength: float = Field(1.0, gt=0, description="lambda: weight of the prior; published with .23")

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, d = linear(measurement.operator, self.title), prior.noise_std(measurement.grid)
        z = prior.mean(measurement.grid).to(measurement.y).expand(len(measurement), -1, -1, -1)
        for here in levels.tolist()[:-1]:
            alpha = self.strength * (measurement.sigma / (here * d)) ** 2  # alpha_k = lambda sigma^2 / sigma_k^2
            x = z + ridge(operator, measurement.y - operator.forward(z), alpha)  # eq. 6a
            z = prior.denoise(x, here)  # eq. 6b, solved as eq. 8
        return z
