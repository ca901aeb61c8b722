"""Pi-GDM: pseudo-inverse guidance through the denoiser (Song et al. 2023)."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from invkit.diffusion.samplers import Noise
from invkit.physics.measurement import Measurement
from invkit.physics.operators.least_squares import dot, ridge, times
from invkit.reconstructors.zeroshot.base import Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior, linearised


class Pigdm(Solver):
    """Pseudo-inverse guided diffusion (Song et al. 2023): `p(x_0 | x)` is taken as `N(D, r^2)` (eq. 4), so that y is Gaussian too.

    The denoised picture becomes `D + t sigma^2 C J^T v` with `v = A^T (r^2 A A^T + sigma_y^2)^-1 (y - A D)` (eq. 7), without
    noise `A^+ (y - A D) / r^2` (eq. 8). As `sigma^2 C J^T` is the covariance of `x_0` given x, it says itself how well
    `r^2` fits: t is the step of greatest posterior density along that direction, 1 where pictures are white noise and
    `r^2` is right. With `t = 1` the coarse modes of real pictures, whose variance is hundreds of `r^2`, would overshoot.
    """

    title: ClassVar[str] = "pigdm"

    @property
    def cost(self) -> int:
        return 2

    def walk(self, prior: Prior, measurement: Measurement, noise: Noise, levels: Tensor) -> Tensor:
        operator, y, grid = measurement.operator, measurement.y, measurement.grid
        variance, d = prior.spread(grid) ** 2, prior.deviation(grid)
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            r2 = 1 / (1 / variance + 1 / (here * d) ** 2)  # that of eq. 4 for white pictures of this variance
            clean, pull = linearised(prior, x, here)
            r = y - operator.forward(clean)
            v = ridge(operator, r, measurement.sigma**2 / r2) / r2
            change = here**2 * prior.covariance(pull(v))
            image = operator.forward(change).double()
            curvature = dot(image, image) + measurement.sigma**2 * dot(v.double(), change.double())
            t = (dot(r.double(), image) / curvature.clamp(min=1e-30)).clamp(min=0)
            guided = clean + times(t.to(x), change)
            x = ancestral(x, guided, here, there, noise(f"step{i}"))
        return x
