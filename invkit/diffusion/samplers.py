"""Samplers: from noise to a sample, given only a denoiser `denoise(x, sigma) -> x0` and a source of noise.

All step down noise levels in the variance-exploding parametrisation `x = x0 + sigma n`; schedules with a scale differ from it by
that factor only. With `n` of covariance C, `C grad log p(x) = (denoise(x, sigma) - x) / sigma^2`: C is never inverted.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.settings import Settings, retired
from invkit.diffusion.schedules import EdmSchedule, Schedule

Denoise = Callable[[Tensor, float], Tensor]
Noise = Callable[[str], Tensor]  # a label to an independent draw of the noise field


MAX_STEPS = 10_000


class Sampler(Settings, ABC):
    """A discretisation of the reverse process along falling noise levels."""

    kind: ClassVar[str] = "sampler"
    order: ClassVar[float | None] = (
        1  # the error of the samples' distribution falls with steps^-order; None: without steps
    )

    @abstractmethod
    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        """From `x` (B, C, H, W) at the first of the decreasing `levels` to the last, which may be zero."""

    @abstractmethod
    def calls(self, steps: int) -> int:
        """Network calls per sample for `steps` steps, the last of them to zero."""

    def __call__(self, denoise: Denoise, noise: Noise, levels: Tensor) -> Tensor:
        """Samples (B, C, H, W); `levels` (steps + 1,) decrease to zero."""
        return self.walk(denoise, noise, levels, float(levels[0]) * noise("start"))


class Heun(Sampler):
    """Second-order steps along the probability-flow ODE (Karras et al. 2022, EDM, algorithm 2; churn, algorithm 2 gamma)."""

    order: ClassVar[float | None] = 2
    churn: float = Field(0.0, ge=0, description="S_churn: amount of noise added again along the way, 0 for none")

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        sigmas = levels.tolist()
        gamma = min(self.churn / (len(sigmas) - 1), 2**0.5 - 1)
        for i, (here, there) in enumerate(pairwise(sigmas)):
            hat = here * (1 + gamma)
            if gamma > 0:
                x = x + (hat**2 - here**2) ** 0.5 * noise(f"churn{i}")
            slope = (x - denoise(x, hat)) / hat
            ahead = x + (there - hat) * slope
            if there > 0:
                slope = 0.5 * (slope + (ahead - denoise(ahead, there)) / there)
                ahead = x + (there - hat) * slope
            x = ahead
        return x

    def calls(self, steps: int) -> int:
        return 2 * steps - 1


class Dpmpp2M(Sampler):
    """Multistep second-order steps in ln sigma (Lu et al. 2022, DPM-Solver++, algorithm 2): one call per step."""

    order: ClassVar[float | None] = 2

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        sigmas = levels.tolist()
        before: tuple[Tensor, float] | None = None  # the previous estimate, and its step in ln sigma
        for here, there in pairwise(sigmas):
            clean = denoise(x, here)
            if there == 0:
                return clean
            h = math.log(here / there)
            ahead = clean
            if before is not None:
                ahead = clean + (clean - before[0]) * (0.5 * h / before[1])
            x = there / here * x + (1 - there / here) * ahead
            before = clean, h
        return x

    def calls(self, steps: int) -> int:
        return steps


class EulerMaruyama(Sampler):
    """First-order steps of the reverse SDE `dx = 2 (x - D) dsigma / sigma + sqrt(-d sigma^2) n` (Song et al. 2021, eq. 6)."""

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            clean = denoise(x, here)
            if there == 0:
                return clean
            spent = here**2 - there**2
            x = x + spent / here**2 * (clean - x) + math.sqrt(spent) * noise(f"step{i}")
        return x

    def calls(self, steps: int) -> int:
        return steps


class Denoising(Sampler):
    """Ancestral steps `q(x_s | x_t, x_0)` of denoising diffusion (Ho et al. 2020, eq. 6-7), as in DDO."""

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            ratio = (there / here) ** 2
            x = ratio * x + (1 - ratio) * denoise(x, here)
            if there > 0:
                x = x + there * (1 - ratio) ** 0.5 * noise(f"step{i}")
        return x

    def calls(self, steps: int) -> int:
        return steps


class Langevin(Sampler):
    """Predictor-corrector: an ancestral step, then Langevin steps at the new level (Song et al. 2021, algorithm 2).

    The Langevin dynamics are preconditioned with the noise covariance C, and r is relative to the noise level:
    `x <- x + r (D - x) + sqrt(2 r) sigma n`.
    """

    corrections: int = Field(1, ge=1, description="Langevin steps at each noise level")
    step: float = Field(0.4, gt=0, le=1, description="step size r, relative to the squared noise level")

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        predictor = Denoising()
        for i, (here, there) in enumerate(pairwise(levels.tolist())):
            pair = torch.tensor([here, there], dtype=torch.float64)
            x = predictor.walk(denoise, lambda _, i=i: noise(f"step{i}"), pair, x)  # type: ignore[misc]
            for j in range(self.corrections if there > 0 else 0):
                kick = there * math.sqrt(2 * self.step) * noise(f"correct{i}/{j}")
                x = x + self.step * (denoise(x, there) - x) + kick
        return x

    def calls(self, steps: int) -> int:
        return steps + (steps - 1) * self.corrections


class OneStep(Sampler):
    """A sample by one network call at noise level infinity, of a model trained for it (`train.one_step_share`)."""

    order: ClassVar[float | None] = None

    def walk(self, denoise: Denoise, noise: Noise, levels: Tensor, x: Tensor) -> Tensor:
        return denoise(x / float(levels[0]), math.inf)

    def calls(self, steps: int) -> int:
        return 1


SAMPLERS: dict[str, type[Sampler]] = {
    "heun": Heun,
    "dpmpp-2m": Dpmpp2M,
    "denoise": Denoising,
    "em": EulerMaruyama,
    "langevin": Langevin,
    "one-step": OneStep,
}


class Sample(Settings):
    """How posterior samples are drawn."""

    method: Sampler = Field(default_factory=Dpmpp2M, description="the sampler")
    steps: int = Field(15, ge=1, le=MAX_STEPS, description="steps of the sampler")
    sigma_min: float | None = Field(
        None, gt=0, description="lowest noise level but zero; null: that of diffusion.schedule; for the schedule edm"
    )
    _retired = retired(coarse=[])

    @property
    def calls(self) -> int:
        return self.method.calls(self.steps)

    def levels(self, schedule: Schedule) -> Tensor:
        """`steps + 1` decreasing noise levels (float64), the last one zero. Raises ValueError where `sigma_min` does not fit."""
        if self.sigma_min is None:
            return schedule.levels(self.steps)
        if not isinstance(schedule, EdmSchedule):
            raise ValueError("sample.sigma_min is for the schedule edm; leave it out with sample.sigma_min=null")
        if self.sigma_min >= schedule.highest:
            raise ValueError(f"sample.sigma_min should be below the highest noise level, {schedule.highest:g}")
        return schedule.model_copy(update={"sigma_min": self.sigma_min}).levels(self.steps)
