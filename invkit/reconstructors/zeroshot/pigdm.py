"""Pi-GDM: pseudo-inverse guidance through the denoiser (Song et al. 2023)."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.physics.operators.least_squares import dot, ridge, times
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior, denoise_with_vjp


class Pigdm(Solver):
    """Pseudo-inverse guided diffusion (Song et al. 2023): approximates `p(x_0 | x)` by `N(D, r^2)` (eq. 4).

    The denoised image becomes `D + t sigma^2 C J^T v` with `v = A^T (r^2 A A^T + sigma_y^2)^-1 (y - A D)` (eq. 7), for
    noiseless data `v = A^+ (y - A D) / r^2` (eq. 8). The step t maximises the posterior density along this direction, where
    the covariance of `x_0` given x is `sigma^2 C J^T`; `t = 1` for white images and correct `r^2`. With `t = 1` the coarse
    modes of natural images, whose variance is hundreds of times `r^2`, would overshoot.
    """

    title: ClassVar[str] = "pigdm"
    levels: Levels = Levels(sigma_max=20, sigma_min=0.04)

    @property
    def cost(self) -> int:
        return 2

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, y, grid = linear(measurement.operator, self.title), measurement.y, measurement.grid
        variance, d = prior.std(grid) ** 2, prior.noise_std(grid)
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            r2 = 1 / (1 / variance + 1 / (here * d) ** 2)  # exact for white images of this variance
            clean, vjp = denoise_with_vjp(prior, x, here)
            r = y - operator.forward(clean)
            v = ridge(operator, r, measurement.sigma**2 / r2) / r2
            change = here**2 * prior.covariance(vjp(v))
            measured = operator.forward(change).double()
            curvature = dot(measured, measured) + measurement.sigma**2 * dot(v.double(), change.double())
            t = (dot(r.double(), measured) / curvature.clamp(min=1e-30)).clamp(min=0)
            guided = clean + times(t.to(x), change)
            x = ancestral(x, guided, here, there, noise(f"step{i}"))
        return x
