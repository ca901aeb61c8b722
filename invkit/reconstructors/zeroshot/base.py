"""What all zero-shot solvers share: posterior samples from a denoiser that has never seen a measurement."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.keys import Keys
from invkit.core.settings import PathSetting
from invkit.diffusion.samplers import Noise
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources
from invkit.reconstructors.zeroshot.prior import Prior, TrainedPrior

CHUNK = 128  # pictures in the network at once: gradients keep what is between its layers


class Solver(Method, ABC):
    """Settings of a zero-shot row, and the walk from noise to pictures that agree with a measurement.

    Walks are in the variance-exploding frame `x = x_0 + sigma n`, in which a published step in another frame is rewritten
    at the line; `s = sigma d` is the pixel deviation of the noise, with d that of `n`.
    """

    title: ClassVar[str]  # its name in the table

    prior: PathSetting = Field(description="run folder of a model trained on the degradation `nothing`")
    calls: int = Field(
        50, ge=2, le=10_000, description="most network calls for a sample; a gradient through the network is one more"
    )

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.calls < self.cost:
            raise ValueError(f"calls should be at least {self.cost}, which one step costs")
        return self

    @property
    def cost(self) -> int:
        """Network calls a step; a vector-Jacobian product counts as one, beside the call that it goes back through."""
        return 1

    @property
    def steps(self) -> int:
        """Steps down the noise levels that the calls pay for."""
        return self.calls // self.cost

    @abstractmethod
    def walk(self, prior: Prior, measurement: Measurement, noise: Noise, levels: Tensor) -> Tensor:
        """One draw for each measurement (B, C, H, W), down the falling `levels` (steps + 1,) to zero.

        Raises Unavailable where the solver is not made for such an operator.
        """

    def build(self, sources: Sources) -> Reconstructor:
        if self.prior not in sources.priors:
            raise RecipeError(f"eval.methods: the row `{self.title}` needs its prior, and {self.prior} is not loaded")
        return ZeroShot(self, TrainedPrior(sources.priors[self.prior]))


class ZeroShot(Reconstructor):
    """A solver over a prior: samples only, as the mean of a measurement has no shorter way than through many of them."""

    readouts = ("sample",)

    def __init__(self, solver: Solver, prior: Prior) -> None:
        self.name, self.solver, self.prior = solver.title, solver, prior

    def nfe(self, readout: str) -> int:
        return self.solver.steps * self.solver.cost

    def mean(self, measurement: Measurement) -> Tensor:
        raise NotImplementedError(f"{self.name} has samples only")

    @torch.no_grad()
    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        levels, draws = self.prior.levels(self.solver.steps), []
        for copies, own in keys.chunks(count, CHUNK):

            def noise(label: str, own: Keys = own) -> Tensor:
                return self.prior.noise(own.child(label), measurement.grid, "noise")

            draws.append(self.solver.walk(self.prior, measurement.repeat(copies), noise, levels))
        return torch.cat(draws).unflatten(0, (count, -1))


def start(prior: Prior, measurement: Measurement, noise: Noise, level: float) -> Tensor:
    """A draw of noise about the mean picture (B, C, H, W)."""
    return prior.mean(measurement.grid) + level * noise("start")


def ancestral(x: Tensor, clean: Tensor, here: float, there: float, n: Tensor) -> Tensor:
    """A draw of `q(x_there | x_here, x_0 = clean)` (Ho et al. 2020, eq. 6-7, in the variance-exploding frame)."""
    ratio = (there / here) ** 2
    return ratio * x + (1 - ratio) * clean + there * (1 - ratio) ** 0.5 * n


__all__ = ["CHUNK", "Solver", "ZeroShot", "ancestral", "start"]
