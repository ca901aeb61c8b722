"""Quantisation: measured values are rounded to multiples of a step."""

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.noise.base import NoiseLaw


class Uniform(NoiseLaw):
    """Rounding to multiples of `step`, after white Gaussian noise: the error of the rounding is nearly uniform.

    Without Gaussian noise the likelihood is constant within half a step, so that it has no gradient.
    """

    step: float = Field(0.25, gt=0, le=2, description="distance of the values that y can have; images are in [-1, 1]")
    sigma: float = Field(
        0.05, ge=0, le=10, description="standard deviation of white Gaussian noise before the rounding"
    )

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        noisy = clean + self.sigma * keys.normal("noise", *clean.shape[1:]).to(clean) if self.sigma else clean
        return (noisy / self.step).round() * self.step

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        low, high = (y.double() + side * self.step / 2 - clean.double() for side in (-1, 1))
        if not self.sigma:
            return torch.where((low <= 1e-6) & (high >= -1e-6), 0.0, -torch.inf).to(clean)
        return log_mass(low / self.sigma, high / self.sigma).to(clean)

    def variance(self, clean: Tensor) -> Tensor:
        return torch.full_like(clean, self.sigma**2 + self.step**2 / 12)

    @property
    def smooth(self) -> bool:
        return self.sigma > 0


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Logarithm of the probability that a standard normal number lies between two numbers, without cancellation in the tails.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> round(float(log_mass(-one, one).exp()), 4), round(float(log_mass(30 * one, 31 * one)), 1)
    (0.6827, -454.3)
    """
    flip = low + high > 0  # to the lower tail
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    top, ratio = torch.special.log_ndtr(high), torch.special.log_ndtr(low) - torch.special.log_ndtr(high)
    return top + torch.log1p(-ratio.exp().clamp(max=1 - 1e-15))
