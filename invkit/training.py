"""The trainer: a generator of step records over a problem it knows only by its parts."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.data.base import Images
from invkit.data.feed import Feed
from invkit.degradation import Degradation, Measurement, Noise, measure
from invkit.device import Precision, fast_dtype, place
from invkit.diffusion import Diffusion
from invkit.diffusion.condition import fill_in
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.distributed import ALONE, World
from invkit.errors import NonFiniteError, RecipeError
from invkit.field import FittedField
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.nn import Network
from invkit.optim import optimisers
from invkit.settings import Settings

FIT_IMAGES = 4096  # pictures behind the fitted field
SCALE_IMAGES = 512  # pictures behind the residual's deviation


class Train(Settings):
    """How the model is trained."""

    steps: int = Field(2000, ge=1, description="optimiser steps")
    batch: int = Field(64, ge=1, description="pictures a step, over all accumulated parts and processes")
    accumulate: int = Field(1, ge=1, description="parts a batch is computed in; the update is that of the whole")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW")
    muon_lr: float | None = Field(0.02, gt=0, description="learning rate of Muon for convolutions; null: AdamW for all")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    warmup: int = Field(50, ge=0, description="steps in which the learning rate rises")
    decay: float = Field(
        0.4, ge=0, le=1, description="share of the steps, at the end, in which the learning rate falls to zero"
    )
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, reached after a ramp")
    mean_share: float = Field(
        0.25, ge=0, le=1, description="share of a batch trained on the posterior mean (noise level infinity)"
    )
    query_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="take the loss on a second drawn share of the pixels, disjoint from the observed; null: on all hidden",
    )
    flip: bool = Field(True, description="mirror pictures left to right at random")
    grids: tuple[int | tuple[int, int], ...] = Field(
        (32,), min_length=1, description="grids, one drawn for each step: n or [height, width]"
    )
    workers: int = Field(0, ge=0, description="processes that read pictures ahead; 0: read when they are needed")
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    sample_every: int = Field(500, ge=1, description="steps between sample grids")
    precision: Precision = Field("auto", description="bf16 where the device is fast at it (auto), bf16 or float32")
    determinism: Literal["strict", "fast"] = Field("fast", description="strict: deterministic kernels only")


class Log(Settings):
    """What is written down during training."""

    every: int = Field(20, ge=1, description="steps between logged records")
    tensorboard: bool = Field(True, description="write TensorBoard files")


def as_grid(size: int | tuple[int, int], channels: int) -> Grid:
    height, width = (size, size) if isinstance(size, int) else size
    return Grid(height, width, channels)


@dataclass(frozen=True)
class Problem:
    """What is learned: pictures on one or more grids, how they are measured, and the seed of every draw."""

    images: Mapping[Grid, Images]
    degradation: Degradation
    noise: Noise
    seed: int

    @property
    def grids(self) -> list[Grid]:
        return list(self.images)

    def measure(self, x: Tensor, keys: Keys, grid: Grid) -> Measurement:
        """Measure pictures (B, C, H, W) with operators and noise of their own keys."""
        return measure(self.degradation.sample(keys.child("operator"), grid), x, self.noise, keys.child("noise"))


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step."""

    step: int
    loss: float
    grad_norm: float
    lr: float
    images: int  # pictures seen so far
    seconds: float  # this step took


def build_model(
    problem: Problem, network: Network, diffusion: Diffusion, precision: Precision, device: torch.device
) -> ConditionalModel:
    """The model of step 0, a function of the seed: weights drawn, field fitted, residual scale measured."""
    grid = problem.grids[0]
    images = problem.images[grid]
    ids = list(range(min(FIT_IMAGES, len(images))))
    x = torch.cat([images[ids[i : i + 256]] for i in range(0, len(ids), 256)])
    prior = FittedField.fit(x, grid)
    residual, scale = _residual(problem, network, prior, x[:SCALE_IMAGES], grid)
    constants = Constants(prior, residual, scale, max(min(grid.shape) for grid in problem.grids))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        model = ConditionalModel(network, diffusion, constants, precision)
    return place(model, device)


def _residual(
    problem: Problem, network: Network, prior: FittedField, x: Tensor, grid: Grid
) -> tuple[FittedField, float]:
    """The law of the residual of some pictures about their fill, at unit deviation, and the scale that makes it so."""
    parts, squares, count = [], 0.0, 0.0
    for first in range(0, len(x), 64):
        part = x[first : first + 64]
        measurement = problem.measure(part, Keys.of(problem.seed, "scale", range(first, first + len(part))), grid)
        fill, deviation = fill_in(network.fill, network.prior or prior, measurement)
        hidden = torch.ones_like(part)
        if measurement.observed is not None and measurement.sigma == 0:
            hidden = (~measurement.observed).expand_as(part).to(part)
        parts.append((part - fill) / deviation * hidden)
        squares, count = squares + float(parts[-1].double().square().sum()), count + float(hidden.sum())
    if not math.isfinite(squares):
        raise NonFiniteError(
            "the pictures or their measurements are not finite; check the data set and the degradation"
        )
    scale = max(math.sqrt(squares / max(count, 1)), 1e-4)
    z = torch.cat(parts) / scale
    return FittedField.fit(z, grid, torch.zeros(grid.channels, dtype=torch.float64)), scale


@lru_cache(maxsize=4)  # of two epochs on two grids: pictures are read ahead
def _epoch(seed: int, epoch: int, count: int) -> Tensor:
    return Keys.of(seed, "epoch", [epoch]).permutation("order", count)[0]


def picture_ids(seed: int, positions: Tensor, count: int) -> list[int]:
    """Which picture stands at each position of the endless stream of keyed epochs."""
    return [int(_epoch(seed, p // count, count)[p % count]) for p in positions.tolist()]


def quantiles(seed: int, positions: Tensor) -> Tensor:
    """A low-discrepancy sequence in [0, 1) over the stream: any run of n positions has about one in every interval 1 / n.

    Multiples of the golden ratio, shifted by the seed (Niederreiter 1992, section 3.1).
    """
    shift = Keys.of(seed, "quantiles", [0]).uniform("shift", 1).double()
    return ((shift[0] + positions.double() * ((math.sqrt(5) - 1) / 2)) % 1).float().clamp(max=1 - 1e-7)


class Trainer:
    """Trains a model in place; its whole state is `step`, the weights, their average and the optimiser's moments."""

    def __init__(
        self, problem: Problem, model: ConditionalModel, settings: Train, device: torch.device, world: World = ALONE
    ) -> None:
        if settings.batch % settings.accumulate:
            raise RecipeError(f"train.accumulate: {settings.accumulate} does not divide train.batch = {settings.batch}")
        if settings.batch // settings.accumulate < world.size:
            raise RecipeError(
                f"train.batch: a part of {settings.batch // settings.accumulate} pictures for {world.size} processes; "
                "raise it, or lower train.accumulate"
            )
        self.problem, self.model, self.settings, self.device, self.world = problem, model, settings, device, world
        self.feed = Feed(problem.images, device, settings.workers, self._plan)
        self.step = 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        dtype = fast_dtype(device, settings.precision)
        self.optimisers = optimisers(model, settings.lr, settings.muon_lr, settings.weight_decay, dtype)

    def rate(self, step: int) -> float:
        """Learning rate of a step as a share of the base: a linear rise, a plateau, a linear fall."""
        s = self.settings
        rise = min(1.0, (step + 1) / (s.warmup + 1))
        fall = min(1.0, (s.steps - step) / max(1.0, s.decay * s.steps))
        return rise * fall

    def run(self) -> Iterator[StepRecord]:
        """Train to `settings.steps`, yielding after every step; raises NonFiniteError before a bad update."""
        self.model.train()
        try:
            while self.step < self.settings.steps:
                start = time.perf_counter()
                loss, norm, rate = self._update()
                self.step += 1
                images = self.step * self.settings.batch
                yield StepRecord(self.step, loss, norm, rate, images, time.perf_counter() - start)
        finally:
            self.feed.close()

    def _grid(self, step: int) -> Grid:
        """The grid of a step's pictures, the same in all processes."""
        keys = Keys.of(self.problem.seed, "step", [step])
        return self.problem.grids[int(keys.integers("grid", len(self.problem.grids)))]

    def _positions(self, step: int, part: int) -> Tensor:
        """Where this process's pictures of an accumulated part of a step stand in the stream."""
        size = self.settings.batch // self.settings.accumulate
        first = step * self.settings.batch + part * size
        return self.world.share(torch.arange(first, first + size))

    def _plan(self) -> Iterator[tuple[Grid, list[int]]]:
        """What will be asked of the feed, from the current step on."""
        for step in count(self.step):
            grid = self._grid(step)
            for part in range(self.settings.accumulate):
                yield grid, picture_ids(self.problem.seed, self._positions(step, part), len(self.problem.images[grid]))

    def _update(self) -> tuple[float, float, float]:
        s, loss = self.settings, torch.zeros((), device=self.device)
        grid, dropped = self._grid(self.step), Keys.of(self.problem.seed, "step", [self.step])
        # Dropout alone is drawn in the order of the work, so processes must not draw the same.
        seed = int(dropped.integers("dropout", 2**20)) + (self.step << 20) + (self.world.rank << 48)
        rng = torch.Generator(self.device).manual_seed(seed)
        for part in range(s.accumulate):
            mean = self._losses(self._positions(self.step, part), grid, rng).sum() / s.batch
            mean.backward()
            loss += mean.detach()
        self.world.sum_([loss, *(p.grad for p in self.model.parameters() if p.grad is not None)])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        values = float(loss), float(norm)
        if not all(map(math.isfinite, values)):
            raise NonFiniteError(
                f"step {self.step + 1}: loss {values[0]:g}, gradient norm {values[1]:g}; the weights are those of step "
                f"{self.step}. Try a smaller train.lr or train.precision=float32"
            )
        rate = self.rate(self.step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        decay = min(s.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p, 1 - decay)
        return *values, rate * s.lr

    def _losses(self, positions: Tensor, grid: Grid, rng: torch.Generator) -> Tensor:
        x = self.feed.take(grid, picture_ids(self.problem.seed, positions, len(self.problem.images[grid])))
        keys = Keys.of(self.problem.seed, "train", positions, self.device)
        if self.settings.flip:
            x = torch.where((keys.uniform("flip") < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
        measurement = self.problem.measure(x, keys, grid)
        weight = None
        if self.settings.query_fraction is not None:
            weight = query(measurement, keys, self.settings.query_fraction)
        share = self.settings.mean_share
        levels = quantiles(self.problem.seed, positions).to(self.device)
        return self.model.loss(x, measurement, keys, levels, mean_share=share, weight=weight, rng=rng)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Everything that must survive, by file: weights, averaged weights, moments of the optimiser."""
        moments = {
            f"{name}/{key}": value
            for optimiser in self.optimisers
            for name, p in self.model.named_parameters()
            for key, value in optimiser.state.get(p, {}).items()
        }
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        return {"weights": weights, "average": self.average, "optimiser": moments}

    def restore(self, step: int, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from a saved state, bit for bit."""
        self.step = step
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(state["weights"][name])
                self.average[name].copy_(state["average"][name])
            for optimiser in self.optimisers:
                own = {id(p) for group in optimiser.param_groups for p in group["params"]}
                for name, p in self.model.named_parameters():
                    if id(p) in own:
                        moments = {k: v for k, v in state["optimiser"].items() if k.rsplit("/", 1)[0] == name}
                        optimiser.state[p] = {k.rsplit("/", 1)[1]: _like(v, p) for k, v in moments.items()}


def _like(value: Tensor, p: Tensor) -> Tensor:
    """A saved moment with the parameter's memory layout, which fused optimisers take for granted."""
    return torch.empty_like(p).copy_(value) if value.shape == p.shape else value.to(p.device, copy=True)


def query(measurement: Measurement, keys: Keys, fraction: float) -> Tensor:
    """A keyed share of all pixels, disjoint from the observed: weights (B, 1, H, W) in {0, 1}."""
    if measurement.observed is None:
        raise RecipeError("train.query_fraction needs a mask degradation; leave it out for this one")
    grid = measurement.grid
    observed = measurement.observed.any(1).flatten(1)
    count = round(fraction * grid.pixels)
    rank = keys.permutation("query", grid.pixels).argsort(1)
    order = torch.where(observed, grid.pixels, rank).argsort(1)  # hidden pixels first, in random order
    chosen = torch.zeros_like(observed).scatter_(1, order[:, :count], True) & ~observed
    return chosen.view(-1, 1, *grid.shape).to(measurement.y)
