"""Noise schedules `x_t = scale(t) (x_0 + sigma(t) n)`, with sigma in standard deviations of the data."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.settings import Settings

LEAST = 20.0  # smallest `sigma_max` that is set from the residual
ABOVE = 5.0  # that many standard deviations of the strongest mode, at which 4 % of its variance are still signal


class Schedule(Settings, ABC):
    """The distribution of noise levels in training, and the decreasing levels of sampling."""

    kind: ClassVar[str] = "schedule"

    def fitted(self, strongest: float) -> Self:
        """The schedule with the settings that are left open; `strongest` as of `strongest_mode` in `model.py`."""
        return self

    @abstractmethod
    def scale(self, t: Tensor) -> Tensor:
        """Signal factor at time t in [0, 1]."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise relative to the signal at time t in [0, 1]."""

    @abstractmethod
    def train_sigma(self, u: Tensor) -> Tensor:
        """The noise level at quantile u in [0, 1) of the training distribution."""

    @abstractmethod
    def levels(self, steps: int) -> Tensor:
        """`steps + 1` decreasing noise levels (float64), the last one zero."""


class EdmSchedule(Schedule):
    """Log-normal training levels and polynomial sampling steps (Karras et al. 2022, EDM, eq. 5 and table 1)."""

    sigma_min: float = Field(
        0.01, gt=0, description="lowest noise level of sampling, in standard deviations of the data"
    )
    sigma_max: float | None = Field(
        None,
        gt=0,
        description="highest noise level of sampling, in standard deviations of the data; null: "
        "5 times that of the residual's strongest mode, and at least 20",
    )
    rho: float = Field(7.0, ge=1, description="exponent of the spacing of noise levels in sampling")
    log_mean: float = Field(-0.6, description="mean of ln(sigma) in training")
    log_std: float = Field(1.4, gt=0, description="standard deviation of ln(sigma) in training")

    @property
    def highest(self) -> float:
        return self.sigma_max or LEAST

    def fitted(self, strongest: float) -> Self:
        return self if self.sigma_max else self.model_copy(update={"sigma_max": max(LEAST, ABOVE * strongest)})

    def scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.highest ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho

    def train_sigma(self, u: Tensor) -> Tensor:
        normal = torch.special.ndtri(u.double().clamp(1e-6, 1 - 1e-6)).to(u)
        return torch.exp(self.log_mean + self.log_std * normal)

    def levels(self, steps: int) -> Tensor:
        t = torch.linspace(1, 0, steps, dtype=torch.float64)
        return torch.cat([self.sigma(t), torch.zeros(1, dtype=torch.float64)])


class TimeSchedule(Schedule, ABC):
    """Noise levels uniform in time, in training and sampling."""

    def train_sigma(self, u: Tensor) -> Tensor:
        return self.sigma(u.clamp(min=1e-6))

    def levels(self, steps: int) -> Tensor:
        t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]
        return torch.cat([self.sigma(t), torch.zeros(1, dtype=torch.float64)])


class VpSchedule(TimeSchedule, ABC):
    """Variance preserving: `scale^2 = sigmoid(log SNR)`, clamped to +-limit so that both ends are finite."""

    limit: float = Field(10.0, gt=0, le=30, description="bound of the log signal-to-noise ratio")

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """`ln(1 / sigma^2)` at time t, before clamping."""

    def _cut(self, t: Tensor) -> Tensor:
        return self.log_snr(t).clamp(-self.limit, self.limit)

    def scale(self, t: Tensor) -> Tensor:
        return torch.sigmoid(self._cut(t)).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._cut(t))


class VpCosineSchedule(VpSchedule):
    """`log SNR = -2 ln tan(pi t / 2)`, clamped to +-10 as published (Lim et al. 2023, DDO; Nichol & Dhariwal 2021)."""

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.log(torch.tan(math.pi / 2 * t))


class VpLinearSchedule(VpSchedule):
    """`ln scale = -t^2 (b1 - b0) / 4 - t b0 / 2`, the linear schedule in continuous time (Song et al. 2021, eq. 33)."""

    beta_min: float = Field(0.1, gt=0, description="noise rate b0 at time 0")
    beta_max: float = Field(20.0, gt=0, description="noise rate b1 at time 1")

    def log_snr(self, t: Tensor) -> Tensor:
        log_scale2 = -(t**2) * (self.beta_max - self.beta_min) / 2 - t * self.beta_min
        return log_scale2 - torch.log(-torch.expm1(log_scale2))


class FlowSchedule(VpSchedule):
    """Straight paths `x_t = (1 - t) x_0 + t n` (Lipman et al. 2023, eq. 23; Liu et al. 2023), clamped to +-limit at the ends."""

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * torch.log((1 - t) / t)

    def scale(self, t: Tensor) -> Tensor:
        return 1 / (1 + self.sigma(t))


SCHEDULES: dict[str, type[Schedule]] = {
    "edm": EdmSchedule,
    "vp-cosine": VpCosineSchedule,
    "vp-linear": VpLinearSchedule,
    "flow": FlowSchedule,
}
