"""Samplers: from noise to a draw, seeing only `denoise(x, sigma) -> x0` and a source of noise."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

from pydantic import Field
from torch import Tensor

from invkit.settings import Settings

Denoise = Callable[[Tensor, float], Tensor]
Noise = Callable[[str], Tensor]  # a label to a fresh draw of the diffusion's field


class Sampler(Settings, ABC):
    """A discretisation of the reverse process along falling noise levels."""

    @abstractmethod
    def __call__(self, denoise: Denoise, noise: Noise, levels: Tensor) -> Tensor:
        """Draw (B, C, H, W); `levels` (steps + 1,) fall to zero."""

    @abstractmethod
    def calls(self, steps: int) -> int:
        """Network calls per sample."""


class Heun(Sampler):
    """Second-order steps along the probability-flow ODE (Karras et al. 2022, EDM, algorithm 2; churn, algorithm 2 gamma)."""

    churn: float = Field(0.0, ge=0, description="S_churn: noise put back over the whole walk, 0 for none")

    def __call__(self, denoise: Denoise, noise: Noise, levels: Tensor) -> Tensor:
        sigmas = levels.tolist()
        steps = len(sigmas) - 1
        gamma = min(self.churn / steps, 2**0.5 - 1)
        x = sigmas[0] * noise("start")
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


class Denoising(Sampler):
    """Ancestral steps `q(x_s | x_t, x_0)` of denoising diffusion (Ho et al. 2020, eq. 6-7), the sampler of DDO."""

    def __call__(self, denoise: Denoise, noise: Noise, levels: Tensor) -> Tensor:
        sigmas = levels.tolist()
        x = sigmas[0] * noise("start")
        for i, (here, there) in enumerate(pairwise(sigmas)):
            ratio = (there / here) ** 2
            x = ratio * x + (1 - ratio) * denoise(x, here)
            if there > 0:
                x = x + there * (1 - ratio) ** 0.5 * noise(f"step{i}")
        return x

    def calls(self, steps: int) -> int:
        return steps


SAMPLERS: dict[str, type[Sampler]] = {"heun": Heun, "denoise": Denoising}


class Sample(Settings):
    """How posterior samples are drawn."""

    method: Sampler = Field(default_factory=Heun, description="the sampler")
    steps: int = Field(6, ge=1, le=10_000, description="steps of the sampler")

    @property
    def calls(self) -> int:
        return self.method.calls(self.steps)
