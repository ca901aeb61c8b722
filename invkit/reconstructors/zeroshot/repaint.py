"""RePaint: what is known is noised anew at every level (Lugmayr et al. 2022)."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.diffusion.samplers import Noise
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import mask_of
from invkit.reconstructors.zeroshot.base import Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior


class Repaint(Solver):
    """RePaint (Lugmayr et al. 2022): known pixels from the data, the others from the prior, harmonised by resampling.

    Masks only. Noise of the data counts as part of the noise of a level; below it the data are taken as they are.
    """

    title: ClassVar[str] = "repaint"
    resamplings: int = Field(5, ge=1, description="r: times that every stretch of levels is walked")
    jump: int = Field(1, ge=1, description="j: levels of a stretch")

    @property
    def cost(self) -> int:
        return self.resamplings

    def walk(self, prior: Prior, measurement: Measurement, noise: Noise, levels: Tensor) -> Tensor:
        observed, y, d = mask_of(measurement, self.title), measurement.y, prior.deviation(measurement.grid)
        sigmas = levels.tolist()
        x = start(prior, measurement, noise, sigmas[0])
        for first in range(0, len(sigmas) - 1, self.jump):
            stretch = sigmas[first : first + self.jump + 1]
            for turn in range(self.resamplings):
                if turn:  # back up, eq. 1 over the whole stretch
                    x = x + (stretch[0] ** 2 - stretch[-1] ** 2) ** 0.5 * noise(f"up{first}/{turn}")
                for i, (here, there) in enumerate(pairwise(stretch)):
                    step = f"{first}/{turn}/{i}"
                    left = max(0.0, there**2 - (measurement.sigma / d) ** 2)  # noise that the data lack for the level
                    known = y + left**0.5 * noise(f"known{step}")  # eq. 8a
                    unknown = ancestral(x, prior.denoise(x, here), here, there, noise(f"step{step}"))  # eq. 8b
                    x = torch.where(observed, known, unknown)  # eq. 8c
        return x
