"""DDRM: diffusion in the singular vectors of the operator (Kawar et al. 2022)."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver
from invkit.reconstructors.zeroshot.prior import Prior

Function = Callable[[Tensor], Tensor]  # of singular values


class Ddrm(Solver):
    """DDRM (Kawar et al. 2022): the step along each right singular vector of `A` depends on the noise of data and level.

    With `eta` 1 the data of singular vectors that are noisier than the level are used at the start only.
    Requires an operator with a singular value decomposition: a mask, a separable operator or a convolution.
    """

    title: ClassVar[str] = "ddrm"
    levels: Levels = Levels(sigma_max=2, sigma_min=0.2)
    eta: float = Field(
        0.99, ge=0, le=1, description="eta: share of fresh noise where data are missing or noisier than the level"
    )
    eta_b: float = Field(
        1.0, ge=0, le=1, description="eta_b: weight of the data where they are less noisy than the level"
    )

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, d = linear(measurement.operator, self.title), prior.noise_std(measurement.grid)
        n = noise("start")
        mean = prior.mean(measurement.grid).to(n)
        if operator.spectral(torch.ones_like, n) is None:
            raise Unavailable("ddrm requires an operator with a singular value decomposition")
        spectral = cast(Callable[[Function, Tensor], Tensor], operator.spectral)

        def data_noise(s: Tensor) -> Tensor:  # along a singular vector, in levels
            return measurement.sigma / d / s.clamp(min=1e-12)

        data, first = operator.pinv(measurement.y), float(levels[0])
        # eq. 7: the data where available, plus noise up to the first level
        x = mean + spectral(lambda s: (s > 0).double(), data - mean)
        x = x + spectral(lambda s: torch.where(s > 0, (first**2 - data_noise(s) ** 2).clamp(min=0).sqrt(), first), n)
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean = prior.denoise(x, here)
            to_state, to_data, fresh = self._factors(data_noise, here, there)
            x = (
                clean
                + spectral(to_state, x - clean)
                + spectral(to_data, data - clean)
                + spectral(fresh, noise(f"step{i}"))
            )
        return x

    def _factors(self, data_noise: Function, here: float, there: float) -> tuple[Function, Function, Function]:
        """Eq. 8: the weights of `x - D` and of `y - D`, and the fresh noise, as functions of the singular value.

        The three cases are: no data (s = 0), data noisier than the level, data less noisy than the level.
        """
        kept = (1 - self.eta**2) ** 0.5 * there

        def better(s: Tensor) -> Tensor:
            return (s > 0) & (data_noise(s) <= there)

        def to_state(s: Tensor) -> Tensor:
            return torch.where(s > 0, 0.0, kept / here)

        def to_data(s: Tensor) -> Tensor:
            worse = torch.where(s > 0, kept / data_noise(s).clamp(min=1e-12), 0.0)
            return torch.where(better(s), self.eta_b, worse)

        def fresh(s: Tensor) -> Tensor:
            left = (there**2 - (self.eta_b * data_noise(s)) ** 2).clamp(min=0).sqrt()
            return torch.where(better(s), left, self.eta * there)

        return to_state, to_data, fresh
