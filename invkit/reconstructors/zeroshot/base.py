"""Base classes of zero-shot solvers: posterior samples with a denoiser trained without measurements."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.diffusion.schedules import EdmSchedule
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources
from invkit.reconstructors.zeroshot.prior import Prior
from invkit.reconstructors.zeroshot.priors import PriorSetting

CHUNK = 128  # states per network call, limited by the memory that gradients require


class Levels(Settings):
    """Noise levels of a solver, spaced as in EDM (Karras et al. 2022, eq. 5)."""

    sigma_max: float = Field(gt=0, description="highest noise level, in standard deviations of the prior's images")
    sigma_min: float = Field(gt=0, description="lowest noise level but zero")
    rho: float = Field(7.0, ge=1, description="exponent of the spacing")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min should be less than sigma_max")
        return self

    def of(self, steps: int) -> Tensor:
        """`steps + 1` decreasing noise levels (float64), the last one zero."""
        return EdmSchedule(sigma_max=self.sigma_max, sigma_min=self.sigma_min, rho=self.rho).levels(steps)


@dataclass(frozen=True)
class Draws:
    """The random numbers of some samples: draws of the prior's noise field by label, and `keys` for all others."""

    prior: Prior
    keys: Keys
    grid: Grid

    def __call__(self, label: str) -> Tensor:
        """A sample of the noise field n (B, C, H, W)."""
        return self.prior.noise(self.keys.child(label), self.grid, "noise")


class Solver(Method, ABC):
    """Settings of a zero-shot method, and its iteration from noise to samples consistent with a measurement.

    All solvers use the variance-exploding parametrisation `x = x_0 + sigma n`; steps published in another one are converted.
    The pixel std of the noise is `s = sigma d` with the pixel std d of `n`.
    """

    title: ClassVar[str]  # name of the method

    prior: PriorSetting = Field(description="a denoiser of images, by name, or the path of a trained model")
    check_prior: bool = Field(
        True,
        description="refuse a prior that is worse than the linear denoiser, biased, or better where there is more noise",
    )
    calls: int = Field(
        50,
        ge=2,
        le=10_000,
        description="maximum number of network calls per sample; a gradient through the network counts as one",
    )
    levels: Levels = Field(description="noise levels, chosen for each solver on posteriors in closed form")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.calls < self.cost:
            raise ValueError(f"calls should be at least {self.cost}, the cost of one step")
        return self

    @property
    def cost(self) -> int:
        """Network calls per step; a vector-Jacobian product counts as one in addition to the forward call."""
        return 1

    @property
    def steps(self) -> int:
        """Number of noise level steps within the budget of `calls`."""
        return self.calls // self.cost

    @property
    def states(self) -> int:
        """States per sample that are denoised together."""
        return 1

    @abstractmethod
    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        """One sample per measurement (B, C, H, W); `levels` (steps + 1,) decrease to zero.

        Raises Unavailable if the solver does not support the operator.
        """

    def build(self, sources: Sources) -> Reconstructor:
        return ZeroShot(self, self.built_prior(sources))

    def built_prior(self, sources: Sources) -> Prior:
        """The prior; errors name the method."""
        try:
            return self.prior.build(sources)
        except (RecipeError, DataError) as error:
            raise type(error)(f"eval.methods: {self.title}.prior: {error}") from None


class ZeroShot(Reconstructor):
    """A solver with a prior. It has samples only, since a posterior mean would require averaging many of them."""

    readouts = ("sample",)

    def __init__(self, solver: Solver, prior: Prior) -> None:
        self.name, self.solver, self.prior = solver.title, solver, prior

    def nfe(self, readout: str) -> int:
        return self.solver.steps * self.solver.cost

    def mean(self, measurement: Measurement) -> Tensor:
        raise NotImplementedError(f"{self.name} has a sample estimator only")

    @torch.no_grad()
    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        levels, samples = self.solver.levels.of(self.solver.steps), []
        for copies, own in keys.chunks(count, max(1, CHUNK // self.solver.states)):
            draws = Draws(self.prior, own, measurement.grid)
            samples.append(self.solver.walk(self.prior, measurement.repeat(copies), draws, levels))
        return torch.cat(samples).unflatten(0, (count, -1))


class PointSolver(Solver, ABC):
    """A solver that makes one estimate of each image. Its random numbers are the same for all images."""

    def build(self, sources: Sources) -> Reconstructor:
        return PointZeroShot(self, self.built_prior(sources))


class PointZeroShot(Reconstructor):
    """A solver of point estimates with a prior."""

    readouts = ("point",)

    def __init__(self, solver: PointSolver, prior: Prior) -> None:
        self.name, self.solver, self.prior = solver.title, solver, prior

    def nfe(self, readout: str) -> int:
        return self.solver.steps * self.solver.cost

    @torch.no_grad()
    def mean(self, measurement: Measurement) -> Tensor:
        keys = Keys.of(0, self.name, [0], measurement.y.device)
        draws, levels = Draws(self.prior, keys, measurement.grid), self.solver.levels.of(self.solver.steps)
        return self.solver.walk(self.prior, measurement, draws, levels)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise NotImplementedError(f"{self.name} has a point estimator only")


def start(prior: Prior, measurement: Measurement, noise: Draws, level: float) -> Tensor:
    """The initial state: prior mean plus noise of the first level (B, C, H, W)."""
    n = noise("start")
    return prior.mean(measurement.grid).to(n) + level * n


def ancestral(x: Tensor, clean: Tensor, here: float, there: float, n: Tensor) -> Tensor:
    """A sample of `q(x_there | x_here, x_0 = clean)` (Ho et al. 2020, eq. 6-7, in the variance-exploding parametrisation)."""
    ratio = (there / here) ** 2
    return ratio * x + (1 - ratio) * clean + there * (1 - ratio) ** 0.5 * n


__all__ = ["CHUNK", "Draws", "Solver", "ZeroShot", "ancestral", "start"]
