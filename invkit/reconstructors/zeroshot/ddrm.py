"""DDRM: a diffusion in the spectral space of the operator (Kawar et al. 2022)."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.diffusion.samplers import Noise
from invkit.physics.measurement import Measurement
from invkit.reconstructors.zeroshot.base import Solver
from invkit.reconstructors.zeroshot.prior import Prior

Function = Callable[[Tensor], Tensor]  # of singular values


class Ddrm(Solver):
    """DDRM (Kawar et al. 2022): a step of its own along every right singular vector of `A`, by noise of data and level.

    Only for operators whose decomposition is at hand: masks, separable ones and convolutions.
    """

    title: ClassVar[str] = "ddrm"
    eta: float = Field(1.0, ge=0, le=1, description="eta: share of fresh noise where the data say nothing or little")
    eta_b: float = Field(1.0, ge=0, le=1, description="eta_b: share of the data where they are better than the level")

    def walk(self, prior: Prior, measurement: Measurement, noise: Noise, levels: Tensor) -> Tensor:
        operator, d = measurement.operator, prior.deviation(measurement.grid)
        n, mean = noise("start"), prior.mean(measurement.grid)
        if operator.spectral(torch.ones_like, n) is None:
            raise Unavailable("ddrm needs an operator whose singular values are at hand")
        spectral = cast(Callable[[Function, Tensor], Tensor], operator.spectral)

        def own(s: Tensor) -> Tensor:  # noise of the data along a singular vector, in levels
            return measurement.sigma / d / s.clamp(min=1e-12)

        data, first = operator.pinv(measurement.y), float(levels[0])
        # eq. 7: the data where there are some, with the noise that they lack
        x = mean + spectral(lambda s: (s > 0).double(), data - mean)
        x = x + spectral(lambda s: torch.where(s > 0, (first**2 - own(s) ** 2).clamp(min=0).sqrt(), first), n)
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean = prior.denoise(x, here)
            to_state, to_data, fresh = self._parts(own, here, there)
            x = (
                clean
                + spectral(to_state, x - clean)
                + spectral(to_data, data - clean)
                + spectral(fresh, noise(f"step{i}"))
            )
        return x

    def _parts(self, own: Function, here: float, there: float) -> tuple[Function, Function, Function]:
        """Eq. 8: how far a step goes from `D` to the state and to the data, and its fresh noise, by singular value.

        Its three cases: nothing seen (s = 0), data worse than the level, data better than the level.
        """
        kept = (1 - self.eta**2) ** 0.5 * there

        def better(s: Tensor) -> Tensor:
            return (s > 0) & (own(s) <= there)

        def to_state(s: Tensor) -> Tensor:
            return torch.where(s > 0, 0.0, kept / here)

        def to_data(s: Tensor) -> Tensor:
            worse = torch.where(s > 0, kept / own(s).clamp(min=1e-12), 0.0)
            return torch.where(better(s), self.eta_b, worse)

        def fresh(s: Tensor) -> Tensor:
            left = (there**2 - (self.eta_b * own(s)) ** 2).clamp(min=0).sqrt()
            return torch.where(better(s), left, self.eta * there)

        return to_state, to_data, fresh
