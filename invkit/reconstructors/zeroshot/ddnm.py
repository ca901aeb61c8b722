"""DDNM: range of the operator from the data, null space from the prior (Wang et al. 2023)."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator, linear
from invkit.physics.operators.least_squares import dot
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, start
from invkit.reconstructors.zeroshot.prior import Prior

Function = Callable[[Tensor], Tensor]  # of singular values
Spectral = Callable[[Function, Tensor], Tensor]  # f and an image x to f(|A|) x


class Ddnm(Solver):
    """DDNM, for noisy data DDNM+ (Wang et al. 2023): uses `D + A^+ (y - A D)` as the denoised image.

    For noisy data, the correction is scaled down if its noise would exceed the fresh noise of the step, and the fresh noise
    is reduced by that of the correction. Both depend on the singular values of `A`, which are taken as equal if unknown.
    """

    title: ClassVar[str] = "ddnm"
    levels: Levels = Levels(sigma_max=2, sigma_min=0.4)
    eta: float = Field(
        1.0, gt=0, le=1, description="eta: share of fresh noise in a level; the rest is kept from the previous one"
    )

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, d = linear(measurement.operator, self.title), prior.noise_std(measurement.grid)
        spectral = _spectral(operator, noise) if measurement.sigma > 0 else None
        x = start(prior, measurement, noise, float(levels[0]))
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean, n = prior.denoise(x, here), noise(f"step{i}")
            old, fresh = (1 - self.eta**2) ** 0.5 * there, self.eta * there  # sigma_t of the paper: of the fresh noise
            correction = operator.pinv(measurement.y - operator.forward(clean))  # eq. 13
            if spectral:
                share, left = _shares(measurement.sigma / d, fresh)
                correction, n = spectral(share, correction), spectral(left, n)  # eq. 17
            x = clean + correction + old / here * (x - clean) + fresh * n
        return x


def _shares(data: float, fresh: float) -> tuple[Function, Function]:
    """Factors on the correction (lambda) and on the fresh noise (gamma), as functions of the singular values.

    The noise of the data, `data / s` in levels, must not exceed the fresh noise (eq. 19, for each singular value).
    """

    def share(s: Tensor) -> Tensor:
        return torch.where(s > 0, (fresh * s / data).clamp(max=1), 1)

    def left(s: Tensor) -> Tensor:
        used = torch.where(s > 0, share(s) * data / s.clamp(min=1e-12), 0)
        return (1 - (used / max(fresh, 1e-12)).square()).clamp(min=0).sqrt()

    return share, left


def _spectral(operator: LinearOperator, noise: Draws) -> Spectral:
    """`f(|A|) x`; without a decomposition, all singular values are replaced by their root mean square for white images."""
    probe = noise("probe")
    if operator.spectral(torch.ones_like, probe) is not None:
        return operator.spectral  # type: ignore[return-value]
    y = operator.forward(probe)
    back = operator.pinv(y).double()
    s = (dot(y.double(), y.double()) / dot(back, back).clamp(min=1e-30)).sqrt().view(-1, 1, 1, 1)

    def approximate(f: Function, x: Tensor) -> Tensor:
        within = operator.pinv(operator.forward(x))
        return f(s).to(x) * within + f(torch.zeros_like(s)).to(x) * (x - within)

    return approximate
