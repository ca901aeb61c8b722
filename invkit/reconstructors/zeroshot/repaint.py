"""RePaint: known pixels are replaced by noisy data at each level (Lugmayr et al. 2022)."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import mask_of
from invkit.reconstructors.zeroshot.base import Draws, Levels, Solver, ancestral, start
from invkit.reconstructors.zeroshot.prior import Prior


class Repaint(Solver):
    """RePaint (Lugmayr et al. 2022): known pixels from the data, the others from the prior, harmonised by resampling.

    Requires a mask. The noise of the data counts as part of the noise of a level; below it no noise is added to the data.
    """

    title: ClassVar[str] = "repaint"
    levels: Levels = Levels(sigma_max=6, sigma_min=0.1)
    resamplings: int = Field(10, ge=1, description="r: number of passes through each segment of levels")
    jump: int = Field(1, ge=1, description="j: levels of a segment")

    @property
    def cost(self) -> int:
        return self.resamplings

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        observed, y, d = mask_of(measurement, self.title), measurement.y, prior.noise_std(measurement.grid)
        sigmas = levels.tolist()
        x = start(prior, measurement, noise, sigmas[0])
        for first in range(0, len(sigmas) - 1, self.jump):
            segment = sigmas[first : first + self.jump + 1]
            for turn in range(self.resamplings):
                if turn:  # back to the first level of the segment, eq. 1
                    x = x + (segment[0] ** 2 - segment[-1] ** 2) ** 0.5 * noise(f"up{first}/{turn}")
                for i, (here, there) in enumerate(pairwise(segment)):
                    step = f"{first}/{turn}/{i}"
                    missing = max(0.0, there**2 - (measurement.sigma / d) ** 2)  # variance to add to the data
                    known = y + missing**0.5 * noise(f"known{step}")  # eq. 8a
                    unknown = ancestral(x, prior.denoise(x, here), here, there, noise(f"step{step}"))  # eq. 8b
                    x = torch.where(observed, known, unknown)  # eq. 8c
        return x
