"""Preconditioning: how a network of unit-scale inputs and outputs becomes a denoiser."""

from dataclasses import dataclass

from pydantic import Field
from torch import Tensor

from invkit.settings import Settings


@dataclass(frozen=True)
class Coefficients:
    """`D(x, sigma) = skip x + out F(in x, log sigma)`; the loss is weighted by `1 / out^2`. Each is (B, 1, 1, 1)."""

    skip: Tensor
    out: Tensor
    into: Tensor


class EdmPreconditioning(Settings):
    """One factor for all modes (Karras et al. 2022, EDM, table 1), for data of deviation `data`."""

    data: float = Field(1.0, gt=0, description="deviation of the normalised data, 1 unless studied otherwise")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """At pixel noise deviations sigma (B,) in (0, inf]; at infinity the output is the mean itself."""
        sigma = sigma.view(-1, 1, 1, 1)
        total = sigma**2 + self.data**2
        out = self.data / (1 + (self.data / sigma) ** 2).sqrt()
        return Coefficients(self.data**2 / total, out, total.rsqrt())
