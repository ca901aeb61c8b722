"""The trainer: a generator of step records."""

import json
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from invkit.core.device import fast_dtype, span
from invkit.core.distributed import ALONE, World
from invkit.core.errors import NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.loader import Feed
from invkit.diffusion.model import ConditionalModel
from invkit.training.initialise import _like, query
from invkit.training.optimisers import average_decay, guard, optimisers
from invkit.training.problem import Problem, picture_ids, quantiles
from invkit.training.settings import Train

CHECK_EVERY = 20  # steps between the host's questions to a device

PATIENCE = 10  # steps in a row that may be left out


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One optimiser step; reading its loss or gradient norm waits for the device."""

    step: int
    loss: Tensor  # ()
    grad_norm: Tensor  # ()
    lr: float
    images: int  # pictures seen so far
    seconds: float  # this step took
    total: int  # steps of the whole training; with a budget, an estimate


class Trainer:
    """Trains a model in place; its whole state is `step`, `seconds`, the weights, their average and the optimiser's moments.

    Whether a step's loss and gradients are finite is decided on the device, before the step changes anything; the host asks
    every step on a CPU and every `CHECK_EVERY` on a device that runs ahead of it.
    """

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
        self.step, self.seconds, self.skipped, self._row = 0, 0.0, 0, 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        dtype = fast_dtype(device, settings.precision)
        self.optimisers = optimisers(model, settings.lr, settings.muon_lr, settings.weight_decay, dtype)
        self.check_every = 1 if device.type == "cpu" else CHECK_EVERY
        self._sound = torch.ones((), dtype=torch.bool, device=device)
        self._flags: list[Tensor] = []  # of the steps that the host has not asked about
        self._compiled = settings.compile
        if settings.compile:
            # Of what is kept from call to call, all is a function of its arguments.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            model.network.compile(dynamic=False)

    def share(self, step: int) -> float:
        """How much of the training is done after some steps, from 0 to 1; with a budget, by the clock."""
        if (total := self.settings.total) is not None:
            return min(1.0, step / total)
        return min(1.0, self.seconds / (self.settings.seconds or 1))

    @property
    def done(self) -> bool:
        return self.share(self.step) >= 1

    def rate(self, step: int) -> float:
        """Learning rate of a step as a share of the base: a linear rise, a plateau, a linear fall."""
        s = self.settings
        rise = min(1.0, (step + 1) / (s.warmup + 1))
        fall = min(1.0, (1 - self.share(step)) / max(1 / (s.total or step + 1), s.decay))
        return rise * fall

    def run(self) -> Iterator[StepRecord]:
        """Train to the end, yielding after every step.

        Raises NonFiniteError with `step` and the weights as they were before the bad update.
        """
        self.model.train()
        try:
            while not self.done:
                start = time.perf_counter()
                loss, norm, rate = self._update()
                self.step += 1
                if len(self._flags) >= self.check_every:
                    self.check()
                taken = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
                if self.settings.total is None:  # all end where the first one's budget does
                    self.world.broadcast_([taken])
                self.seconds += float(taken)
                images = self.step * self.settings.batch
                total = self.settings.total or round(self.step / max(self.share(self.step), 1e-3))
                yield StepRecord(self.step, loss, norm, rate, images, float(taken), total)
        finally:
            self.feed.close()

    def _update(self) -> tuple[Tensor, Tensor, float]:
        s, loss = self.settings, self._gradients()
        with span("optimiser"):
            self.world.sum_([loss, *(p.grad for p in self.model.parameters() if p.grad is not None)])
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
            sound = loss.isfinite() & norm.isfinite()
            if s.on_nonfinite == "stop":  # nothing after a bad step changes anything either
                sound = self._sound = sound & self._sound
            self._flags.append(sound)
            guard(self.optimisers, sound)
            rate = self.rate(self.step)
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["base"] * rate
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
        decay = average_decay(self.step, s.ema, s.ema_length)
        with torch.no_grad(), span("average"):
            weight = (1 - decay) * sound.float()
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p, weight)
        return loss, norm, rate * s.lr

    def check(self) -> None:
        """Ask about the steps since the last time.

        Raises NonFiniteError at a bad one, or at the last of `PATIENCE` in a row where they are left out.
        """
        flags = torch.stack(self._flags).tolist() if self._flags else []
        self._flags = []
        for i, sound in enumerate(flags):
            self._row = 0 if sound else self._row + 1
            if sound:
                continue
            if self.settings.on_nonfinite == "skip" and self._row < PATIENCE:
                self.skipped += 1
                continue
            self.step = self.step - len(flags) + i
            self._sound, self._row = torch.ones_like(self._sound), 0
            cause = self.cause()
            raise NonFiniteError(
                f"step {self.step + 1}: loss {cause['loss']:g}, gradient norm {cause['grad_norm']:g}; the weights are those of "
                f"step {self.step}. Try a smaller train.lr, train.precision=float32 or train.on_nonfinite=skip",
                cause,
            )

    def cause(self) -> dict[str, Any]:
        """The next step as it would be, without making it: pictures, losses of each, gradients that are not finite."""
        s, grid = self.settings, self._grid(self.step)
        losses, pictures = [], []
        for part in range(s.accumulate):
            losses.append(self._losses(self.step, part))
            (losses[-1].sum() / s.batch).backward()
            pictures += self._ids(self.step, part)
        grads = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        self.world.sum_(grads.values())
        norm = torch.stack([g.norm() for g in grads.values()]).norm()
        for p in self.model.parameters():
            p.grad = None
        own = json.dumps([pictures, torch.cat(losses).tolist()]).encode()
        found = [json.loads(text) for text in self.world.gather(own)]
        each = [loss for _, parts in found for loss in parts]
        return {
            "step": self.step + 1,
            "loss": sum(each) / len(each),
            "grad_norm": float(norm),
            "lr": self.rate(self.step) * s.lr,
            "grid": str(grid),
            "pictures": [i for ids, _ in found for i in ids],
            "losses": each,
            "not finite": [name for name, g in grads.items() if not bool(g.isfinite().all())],
        }

    def _gradients(self) -> Tensor:
        """The step's loss, its gradients in place; a network that does not compile is run as it is from then on."""
        try:
            return self._backward()
        except Exception as error:  # compilers fail in many ways; a fault of the recipe's comes again
            if not self._compiled:
                raise
            self._compiled, self.model.network._compiled_call_impl = False, None
            for p in self.model.parameters():
                p.grad = None
            first = (str(error).strip() or "no reason given").splitlines()[0]
            warnings.warn(f"train.compile: going on without it ({type(error).__name__}: {first})", stacklevel=2)
            return self._backward()

    def _backward(self) -> Tensor:
        loss = torch.zeros((), device=self.device)
        for part in range(self.settings.accumulate):
            with span("loss"):
                mean = self._losses(self.step, part).sum() / self.settings.batch
            with span("backward"):
                mean.backward()
            loss += mean.detach()
        return loss

    def _grid(self, step: int) -> Grid:
        """The grid of a step's pictures, the same in all processes."""
        keys = Keys.of(self.problem.seed, "step", [step])
        return self.problem.grids[int(keys.integers("grid", len(self.problem.grids)))]

    def _positions(self, step: int, part: int) -> Tensor:
        """Where in the stream this process's pictures of an accumulated part of a step stand."""
        size = self.settings.batch // self.settings.accumulate
        first = step * self.settings.batch + part * size
        return self.world.share(torch.arange(first, first + size))

    def _ids(self, step: int, part: int) -> list[int]:
        count = len(self.problem.images[self._grid(step)])
        return picture_ids(self.problem.seed, self._positions(step, part), count)

    def _plan(self) -> Iterator[tuple[Grid, list[int]]]:
        """What will be asked of the feed, from the current step on."""
        for step in count(self.step):
            for part in range(self.settings.accumulate):
                yield self._grid(step), self._ids(step, part)

    def _losses(self, step: int, part: int) -> Tensor:
        s, grid, positions = self.settings, self._grid(step), self._positions(step, part)
        with span("pictures"):
            x = self.feed.take(grid, self._ids(step, part))
        keys = Keys.of(self.problem.seed, "train", positions, self.device)
        with span("measure"):
            if s.flip:
                x = torch.where((keys.uniform("flip") < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
            measurement = self.problem.measure(x, keys, grid)
            weight = None if s.query_fraction is None else query(measurement, keys, s.query_fraction)
        levels = quantiles(self.problem.seed, positions).to(self.device)
        first = int(positions[0])  # dropout alone is drawn in the order of the work, from a seed of its place
        seed = int(Keys.of(self.problem.seed, "dropout", [first]).integers("seed", 2**20)) + (first << 20)
        return self.model.loss(x, measurement, keys, levels, mean_share=s.mean_share, weight=weight, seed=seed)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Everything that must survive, by file: weights, averaged weights, moments of the optimiser.

        Raises NonFiniteError as `run` does.
        """
        self.check()
        return self._all()

    def _all(self) -> dict[str, dict[str, Tensor]]:
        moments = {
            f"{name}/{key}": value
            for optimiser in self.optimisers
            for name, p in self.model.named_parameters()
            for key, value in optimiser.state.get(p, {}).items()
        }
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        return {"weights": weights, "average": self.average, "optimiser": moments}

    def restore(self, step: int, state: Mapping[str, Mapping[str, Tensor]], seconds: float = 0) -> None:
        """Go on from a saved state, bit for bit."""
        self.step, self.seconds = step, seconds
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
