"""Speckle, and pixels that are dead or saturated."""

import math

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.noise.base import NoiseLaw

DARKEST = 0.01  # intensity of black, relative to that of a value of 1: speckle needs a positive one


class Gamma(NoiseLaw):
    """Speckle: intensities times a gamma variable of mean one and variance `1 / looks`.

    The intensity of a value is `(A(x) + 1) / 2`, and at least 0.01.
    """

    looks: int = Field(4, ge=1, le=256, description="number of independent looks that are averaged")

    def intensity(self, clean: Tensor) -> Tensor:
        return ((clean.double() + 1) / 2).clamp(min=DARKEST)

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        factor = torch.zeros_like(clean, dtype=torch.float64)
        for k in range(self.looks):  # a sum of exponential variables
            factor -= (1 - keys.uniform(f"look/{k}", *clean.shape[1:]).double()).clamp(min=2.0**-25).log() / self.looks
        return (2 * self.intensity(clean) * factor - 1).to(clean)

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        measured, intensity = (y.double() + 1) / 2, self.intensity(clean)
        return (-self.looks * (intensity.log() + measured / intensity)).to(clean)

    def variance(self, clean: Tensor) -> Tensor:
        return (4 * self.intensity(clean).square() / self.looks).to(clean)


class SaltPepper(NoiseLaw):
    """A share of the values is black (-1) or white (1), each with the same probability; then white Gaussian noise."""

    share: float = Field(0.1, gt=0, lt=1, description="share of the values that are replaced")
    sigma: float = Field(0.05, gt=0, le=10, description="standard deviation of the white Gaussian noise of all values")

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        u, e = keys.uniform("which", *clean.shape[1:]).to(clean), keys.normal("noise", *clean.shape[1:]).to(clean)
        replaced = torch.where(u < self.share / 2, -1.0, torch.where(u < self.share, 1.0, clean))
        return replaced + self.sigma * e

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        def log(weight: float, centre: Tensor | float) -> Tensor:
            return math.log(weight) - (y - centre).square() / (2 * self.sigma**2)

        ends = torch.logaddexp(log(self.share / 2, -1.0), log(self.share / 2, 1.0))
        return torch.logaddexp(log(1 - self.share, clean), ends)

    def variance(self, clean: Tensor) -> Tensor:
        """The mean squared difference from the noiseless value, which is not the mean of y."""
        return self.sigma**2 + self.share * (1 + clean.square())
