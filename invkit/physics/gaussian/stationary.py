"""Stationary fields with parametric covariances: white noise, Matern and squared exponential."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian.basis import Basis, frequencies
from invkit.physics.gaussian.field import GaussianField


class StationaryField(GaussianField, Settings, ABC):
    """A zero-mean field whose spectrum is a function of the wave number: stationary up to boundary effects."""

    kind: ClassVar[str] = "field"

    basis: Basis = Field("cosine", description="cosine (Neumann, reflecting borders) or periodic (a torus)")
    padding: float = Field(
        0.0,
        ge=0,
        le=4,
        description="margin of a larger domain around the image, in units of the shorter side; with a few "
        "correlation lengths the image is stationary up to its border",
    )

    @abstractmethod
    def density(self, laplace: Tensor) -> Tensor:
        """Power of a mode as a function of its eigenvalue of the negative Laplacian, float64."""

    @property
    @abstractmethod
    def trace_class(self) -> bool:
        """Whether the powers of all modes have a finite sum, so that samples are functions in the limit of fine grids."""

    @property
    def mix(self) -> float:
        """Correlation between two channels."""
        return 0.0

    def margin(self, grid: Grid) -> int:
        return round(self.padding / grid.cell)

    def spectrum(self, grid: Grid) -> Tensor:
        k = frequencies(grid, basis=self.basis, margin=self.margin(grid))
        colour = (1 - self.mix) * torch.eye(grid.channels, dtype=torch.float64)[:, :, None, None] + self.mix
        return colour * self.density((math.pi * k).square().sum(0))

    def mean(self, grid: Grid) -> Tensor:
        return torch.zeros(grid.channels, dtype=torch.float64)


class WhiteField(StationaryField):
    """White noise: the same power in each mode, with pixel standard deviation `std` on the reference grid.

    Its spectrum does not depend on the grid; its pixel standard deviation grows with the resolution (it is not trace-class).
    """

    std: float = Field(1.0, gt=0, description="pixel standard deviation on the reference grid")
    reference: int = Field(32, ge=1, description="cells along the shorter side of the reference grid")

    @property
    def correlated(self) -> bool:
        return False

    @property
    def trace_class(self) -> bool:
        return False

    def density(self, laplace: Tensor) -> Tensor:
        return torch.full_like(laplace, (self.std / self.reference) ** 2)


class MaternField(StationaryField):
    """Matern noise `C = s (tau^2 - Laplace)^-a`, trace-class for a > 1 (Whittle 1954; Lindgren, Rue & Lindstrom 2011, eq. 2).

    `s` is such that far from the border the standard deviation is `std`; `tau = sqrt(2 (a - 1)) / length`.
    """

    std: float = Field(1.0, gt=0, description="standard deviation far from the border")
    length: float = Field(0.2, gt=0, le=10, description="correlation length, in units of the shorter side")
    exponent: float = Field(
        2.0, gt=1, le=8, description="exponent a of the operator; only a > 1 is trace-class in the plane"
    )
    color: float = Field(0.0, ge=0, lt=1, description="correlation between two channels")

    @property
    def trace_class(self) -> bool:
        return True

    @property
    def mix(self) -> float:
        return self.color

    def density(self, laplace: Tensor) -> Tensor:
        a, tau2 = self.exponent, 2 * (self.exponent - 1) / self.length**2
        scale = self.std**2 * 4 * math.pi * (a - 1) * tau2 ** (a - 1)
        return scale * (tau2 + laplace) ** -a


class SquaredExponentialField(StationaryField):
    """Smooth noise of covariance `std^2 exp(-|u - v|^2 / (2 length^2))` far from the border (Rasmussen & Williams 2006, eq. 4.9).

    The spectral density is `std^2 2 pi length^2 exp(-length^2 |k|^2 / 2)` with angular wave numbers k (the same, eq. 4.12).
    """

    std: float = Field(1.0, gt=0, description="standard deviation far from the border")
    length: float = Field(0.1, gt=0, le=10, description="length scale of the covariance, in units of the shorter side")
    color: float = Field(0.0, ge=0, lt=1, description="correlation between two channels")

    @property
    def trace_class(self) -> bool:
        return True

    @property
    def mix(self) -> float:
        return self.color

    def density(self, laplace: Tensor) -> Tensor:
        return self.std**2 * 2 * math.pi * self.length**2 * torch.exp(-(self.length**2) * laplace / 2)


FIELDS: dict[str, type[StationaryField]] = {
    "white": WhiteField,
    "matern": MaternField,
    "squared-exponential": SquaredExponentialField,
}
