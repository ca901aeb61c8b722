"""The exact denoiser of a Gaussian field, in place of a network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.measurement import Measurement
from invkit.reconstructors.zeroshot import SOLVERS, Prior

MATERN = MaternField(std=0.5, length=0.3, exponent=2.0)
NOISE = WhiteField(std=0.5, reference=16)  # levels are in standard deviations of the images


@dataclass(frozen=True)
class Same:
    """Draws that are always the same noise."""

    noise: Tensor

    def __call__(self, label: str) -> Tensor:
        return self.noise

    @property
    def keys(self) -> Keys:
        return Keys.of(0, "same", range(len(self.noise)))


def last_step(
    name: str, prior: Prior, measurement: Measurement, sigma: float, noise: Tensor, **settings: float
) -> Tensor:
    """One step of a zero-shot solver, from noise level sigma to zero, all draws of the noise field being the same."""
    solver = SOLVERS[name].model_validate({"prior": "exact", **settings})
    return solver.walk(prior, measurement, Same(noise), torch.tensor([sigma, 0.0], dtype=torch.float64))
