"""The exact denoiser of a Gaussian field, in place of a network."""

import torch
from torch import Tensor

from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.measurement import Measurement
from invkit.reconstructors.zeroshot import SOLVERS, Prior

MATERN = MaternField(std=0.5, length=0.3, exponent=2.0)
NOISE = WhiteField(std=1.0, reference=16)


def last_step(
    name: str, prior: Prior, measurement: Measurement, sigma: float, noise: Tensor, **settings: float
) -> Tensor:
    """One step of a zero-shot solver, from noise level sigma to zero."""
    solver = SOLVERS[name].model_validate({"prior": "exact", **settings})
    return solver.walk(prior, measurement, lambda _: noise, torch.tensor([sigma, 0.0], dtype=torch.float64))
