"""Counts of photons: Poisson noise, and Poisson noise with the read noise of the sensor."""

import math
from abc import ABC

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.noise.base import NoiseLaw

DARKEST = 0.01  # photons: below, the logarithm of the rate is continued by its tangent, so that gradients stay finite
REACH = 8.0  # standard deviations of the read noise that sums over counts extend to


class Counts(NoiseLaw, ABC):
    """A noiseless value of -1 is zero photons, a value of 1 is `peak` photons on average: the rate is `peak (A(x) + 1) / 2`.

    Measured values are counts in the same units, `2 n / peak - 1`.
    """

    peak: float = Field(30.0, gt=0, le=10_000, description="expected photons of a value of 1; a value of -1 has none")

    def rate(self, clean: Tensor) -> Tensor:
        """Expected photons; zero below a value of -1."""
        return (self.peak / 2 * (clean.double() + 1)).clamp(min=0)

    def _log_rate(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The rate, and its logarithm, which goes on below zero, where counts are impossible, so that its gradient leads back."""
        rate = self.peak / 2 * (clean.double() + 1)
        log = rate.clamp(min=DARKEST).log()
        return rate.clamp(min=0), torch.where(rate < DARKEST, math.log(DARKEST) + rate / DARKEST - 1, log)


class Poisson(Counts):
    """Photon counts: `y = 2 n / peak - 1` with n from a Poisson distribution of mean `peak (A(x) + 1) / 2`."""

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        return (2 / self.peak * poisson(keys, self.rate(clean)) - 1).to(clean)

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        rate, log_rate = self._log_rate(clean)
        return (self.peak / 2 * (y.double() + 1) * log_rate - rate).to(clean)

    def variance(self, clean: Tensor) -> Tensor:
        return (4 / self.peak**2 * self.rate(clean)).to(clean)


class PoissonGaussian(Counts):
    """Photon counts with read noise: `y = 2 (n + read e) / peak - 1`, n as for `poisson` and e standard normal."""

    read: float = Field(2.0, gt=0, le=20, description="standard deviation of the read noise, in photons")

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        n = poisson(keys, self.rate(clean)) + self.read * keys.normal("read", *clean.shape[1:]).double()
        return (2 / self.peak * n - 1).to(clean)

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """The sum over the counts within `REACH` standard deviations of the read noise about the measured one."""
        rate, log_rate = self._log_rate(clean)
        measured = self.peak / 2 * (y.double() + 1)
        reach, terms = math.ceil(REACH * self.read), []
        for k in range(-reach, reach + 1):
            n = measured.round() + k
            term = n * log_rate - torch.lgamma(n.clamp(min=0) + 1) - ((measured - n) / self.read).square() / 2
            terms.append(torch.where(n < 0, -math.inf, term))
        return (torch.stack(terms).logsumexp(0).clamp(min=-1e30) - rate).to(clean)

    def variance(self, clean: Tensor) -> Tensor:
        return (4 / self.peak**2 * (self.rate(clean) + self.read**2)).to(clean)


def poisson(keys: Keys, rate: Tensor) -> Tensor:
    """Poisson counts of rates (B, *range) float64 by inversion of the distribution function, keyed by image.

    It starts from the normal approximation with the correction for skewness (Cornish & Fisher 1938), and goes on in single counts.
    """
    high, low = (keys.uniform(f"poisson/{i}", *rate.shape[1:]).double() for i in range(2))
    u = high + low * 2.0**-24 + 2.0**-49  # between 0 and 1, without either
    z = torch.special.ndtri(u)
    n = (rate + rate.sqrt() * z + (z * z - 1) / 6).round().clamp(min=0)
    term = (torch.special.xlogy(n, rate) - rate - torch.lgamma(n + 1)).exp()
    below = torch.special.gammaincc(n + 1, rate)  # P(N <= n)
    while True:
        up, down = below < u, (below - term >= u) & (n > 0)
        if not bool((up | down).any()):
            return n
        below = torch.where(down, below - term, below)
        term = torch.where(up, term * rate / (n + 1), torch.where(down, term * n / rate.clamp(min=1e-300), term))
        n = n + up.double() - down.double()
        below = torch.where(up, below + term, below)
