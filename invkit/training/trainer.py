"""The trainer, which yields a record of each step."""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from invkit.core.cuda_graphs import Replayed
from invkit.core.device import send
from invkit.core.distributed import ALONE, World
from invkit.core.errors import NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.spans import span
from invkit.data.loader import Feed
from invkit.diffusion.model import ConditionalModel
from invkit.training.optimisers import average_decay, guard, optimisers
from invkit.training.problem import Problem, image_ids, quantiles, query
from invkit.training.settings import Train

CHECK_EVERY = 20  # steps between checks for finite values on a device other than a CPU
PATIENCE = 10  # consecutive skipped steps that are an error


@dataclass(frozen=True, eq=False)
class StepRecord:
    """Record of one optimiser step; reading the loss or gradient norm synchronises with the device."""

    step: int
    loss: Tensor  # ()
    grad_norm: Tensor  # ()
    lr: float
    images: int  # images processed so far
    seconds: float  # duration of this step; on a CPU, processor time of the main thread
    total: int  # number of steps of the training; an estimate with a budget


class Trainer:
    """Trains a model in place; the state consists of `step`, `seconds`, the weights, their average and the optimiser moments.

    Whether a step's loss and gradients are finite is tested on the device before the step is applied. The host reads the
    result after every step on a CPU, and every `CHECK_EVERY` steps on other devices.
    """

    def __init__(
        self,
        problem: Problem,
        model: ConditionalModel,
        settings: Train,
        device: torch.device,
        world: World = ALONE,
        interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`interruptible` gives the context of a step's gradients; if it ends them early, the training stops before that step."""
        if settings.batch % settings.accumulate:
            raise RecipeError(f"train.accumulate: {settings.accumulate} does not divide train.batch = {settings.batch}")
        if settings.batch // settings.accumulate < world.size:
            raise RecipeError(
                f"train.batch: a part has {settings.batch // settings.accumulate} images for {world.size} processes; "
                "raise it, or lower train.accumulate"
            )
        self.problem, self.model, self.settings, self.device, self.world = problem, model, settings, device, world
        self.interruptible = interruptible
        self.feed = Feed(problem.images, device, settings.workers, self._plan)
        self.step, self.seconds, self.skipped, self._failures = 0, 0.0, 0, 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.optimisers = optimisers(model, settings.lr, settings.muon_lr, settings.weight_decay)
        # other work on the machine delays a step on a CPU, and does not count
        self._clock = time.thread_time if device.type == "cpu" else time.perf_counter
        self.check_every = 1 if device.type == "cpu" else CHECK_EVERY
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._flags: list[Tensor] = []  # whether each step since the last check was finite
        if device.type == "cpu":  # signals are handled when Python code runs, which a backward pass otherwise does not
            for p in model.parameters():
                p.register_post_accumulate_grad_hook(_nothing)
        self._compiled = settings.compile
        if settings.compile:
            # The cached functions depend on nothing but their arguments.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            model.network.compile(dynamic=False)
        # A captured call is overwritten by the next one: each must be followed by its backward pass.
        once = settings.accumulate == 1 and not settings.one_step_share
        if device.type == "cuda" and settings.graph == "auto" and once and model.settings.capturable:
            model.replayed = Replayed(model.network)

    def share(self, step: int) -> float:
        """Completed share of the training after `step` steps, 0 to 1; with a budget, the elapsed share of the time."""
        if (total := self.settings.total) is not None:
            return min(1.0, step / total)
        return min(1.0, self.seconds / (self.settings.seconds or 1))

    @property
    def done(self) -> bool:
        return self.share(self.step) >= 1

    def rate(self, step: int) -> float:
        """Factor of a step's learning rate: linear warm-up, constant, linear decay."""
        s = self.settings
        rise = min(1.0, (step + 1) / (s.warmup + 1))
        fall = min(1.0, (1 - self.share(step)) / max(1 / (s.total or step + 1), s.decay))
        return rise * fall

    def run(self) -> Iterator[StepRecord]:
        """Train to the end, or to a step whose gradients were interrupted, and yield a record after each step.

        Raises NonFiniteError; `step` and the weights are then those before the failed update.
        """
        self.model.train()
        try:
            while not self.done:
                start = self._clock()
                if (updated := self._update()) is None:
                    return
                loss, norm, rate = updated
                self.step += 1
                if len(self._flags) >= self.check_every:
                    self.check()
                taken = self._clock() - start
                if self.settings.total is None:  # the first process's time counts for all
                    shared = torch.tensor(taken, dtype=torch.float64)
                    self.world.broadcast_([shared])
                    taken = float(shared)
                self.seconds += taken
                images = self.step * self.settings.batch
                total = self.settings.total or round(self.step / max(self.share(self.step), 1e-3))
                yield StepRecord(self.step, loss, norm, rate, images, taken, total)
        finally:
            self.feed.close()

    def _update(self) -> tuple[Tensor, Tensor, float] | None:
        """Loss, gradient norm and learning rate of the next step; None, without an update, if it was interrupted."""
        s, loss = self.settings, None
        with self.interruptible():
            loss = self._gradients()
        if self.world.any(loss is None):
            for p in self.model.parameters():
                p.grad = None
            return None
        assert loss is not None
        with span("optimiser"):
            self.world.sum_([loss, *(p.grad for p in self.model.parameters() if p.grad is not None)])
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
            finite = loss.isfinite() & norm.isfinite()
            if s.on_nonfinite == "stop":  # steps after a failed one have no effect either
                finite = self._finite = finite & self._finite
            self._flags.append(finite)
            guard(self.optimisers, finite)
            rate = self.rate(self.step)
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["base"] * rate
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
        decay = average_decay(self.step, s.ema, s.ema_length)
        with torch.no_grad(), span("average"):
            averages = list(self.average.values())
            change = torch._foreach_sub(list(self.model.parameters()), averages)
            torch._foreach_mul_(change, (1 - decay) * finite.float())
            torch._foreach_add_(averages, change)
        return loss, norm, rate * s.lr

    def check(self) -> None:
        """Check the steps since the last check.

        Raises NonFiniteError at a step that is not finite; if such steps are skipped, at the last of `PATIENCE` in a row.
        """
        flags = torch.stack(self._flags).tolist() if self._flags else []
        self._flags = []
        for i, finite in enumerate(flags):
            self._failures = 0 if finite else self._failures + 1
            if finite:
                continue
            if self.settings.on_nonfinite == "skip" and self._failures < PATIENCE:
                self.skipped += 1
                continue
            self.step = self.step - len(flags) + i
            self._finite, self._failures = torch.ones_like(self._finite), 0
            cause = self.cause()
            raise NonFiniteError(
                f"step {self.step + 1}: loss {cause['loss']:g}, gradient norm {cause['grad_norm']:g}; the weights are those of "
                f"step {self.step}. Try train.precision=float32 or train.on_nonfinite=skip with the same command, or a "
                "smaller train.lr with --fresh",
                cause,
            )

    def cause(self) -> dict[str, Any]:
        """Details of the next step, computed without an update: images, loss of each, gradients that are not finite."""
        s, grid = self.settings, self.grid(self.step)
        losses, images = [], []
        for part in range(s.accumulate):
            losses.append(self._losses(self.step, part))
            (losses[-1].sum() / s.batch).backward()
            images += self._ids(self.step, part)
        grads = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        self.world.sum_(grads.values())
        norm = torch.stack([g.norm() for g in grads.values()]).norm()
        for p in self.model.parameters():
            p.grad = None
        own = json.dumps([images, torch.cat(losses).tolist()]).encode()
        processes = [json.loads(text) for text in self.world.gather(own)]
        each = [loss for _, parts in processes for loss in parts]
        return {
            "step": self.step + 1,
            "loss": sum(each) / len(each),
            "grad_norm": float(norm),
            "lr": self.rate(self.step) * s.lr,
            "grid": str(grid),
            "pictures": [i for ids, _ in processes for i in ids],
            "losses": each,
            "not finite": [name for name, g in grads.items() if not bool(g.isfinite().all())],
        }

    def _gradients(self) -> Tensor:
        """Compute the step's gradients and return its loss; if compilation fails, continue without it."""
        try:
            return self._backward()
        except Exception as error:  # compilers raise errors of many types; others recur below
            if not self._compiled:
                raise
            self._compiled, self.model.network._compiled_call_impl = False, None
            for p in self.model.parameters():
                p.grad = None
            first = (str(error).strip() or "no reason given").splitlines()[0]
            warnings.warn(f"train.compile: continuing without it ({type(error).__name__}: {first})", stacklevel=2)
            return self._backward()

    def _backward(self) -> Tensor:
        loss = torch.zeros((), dtype=torch.float32, device=self.device)
        for part in range(self.settings.accumulate):
            with span("loss"):
                mean = self._losses(self.step, part).sum() / self.settings.batch
            with span("backward"):
                mean.backward()
            loss += mean.detach()
        return loss

    def grid(self, step: int) -> Grid:
        """The grid of a step's images, the same in all processes."""
        grids = self.problem.grids
        keys = Keys.of(self.problem.seed, "step", [step])
        return grids[int(keys.integers("grid", len(grids))) if len(grids) > 1 else 0]

    def _positions(self, step: int, part: int) -> Tensor:
        """Positions, in the sequence of images, of this process's share of an accumulated part of a step."""
        size = self.settings.batch // self.settings.accumulate
        first = step * self.settings.batch + part * size
        return self.world.share(torch.arange(first, first + size))

    def _ids(self, step: int, part: int) -> list[int]:
        count = len(self.problem.images[self.grid(step)])
        return image_ids(self.problem.seed, self._positions(step, part), count)

    def _plan(self) -> Iterator[tuple[Grid, list[int]]]:
        """The batches that the feed will be asked for, from the current step on."""
        for step in count(self.step):
            for part in range(self.settings.accumulate):
                yield self.grid(step), self._ids(step, part)

    def _losses(self, step: int, part: int) -> Tensor:
        s, grid, positions = self.settings, self.grid(step), self._positions(step, part)
        with span("images"):
            x = self.feed.take(grid, self._ids(step, part))
        keys = Keys.of(self.problem.seed, "train", positions, self.device)
        levels = send(quantiles(self.problem.seed, positions), self.device)
        with span("measure"):
            if s.flip:
                x = torch.where((keys.uniform("flip") < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
            x, measurement, weight = self.problem.example(x, keys, grid, self.model.prior, levels < s.mean_share)
            if s.query_fraction is not None:
                weight = query(measurement, keys, s.query_fraction)
        first = int(positions[0])  # dropout uses torch's generator, seeded by the position
        seed = int(Keys.of(self.problem.seed, "dropout", [first]).integers("seed", 2**20)) + (first << 20)
        if not s.one_step_share:
            return self.model.loss(x, measurement, keys, levels, mean_share=s.mean_share, weight=weight, seed=seed)
        scored = positions % s.batch >= s.batch - round(s.one_step_share * s.batch)  # trained for samples by one call
        places = [where.nonzero()[:, 0].to(self.device) for where in (~scored, scored)]
        losses = []
        for own, single in zip(places, (False, True), strict=True):
            if not len(own):
                continue
            pixels = None if weight is None else weight[own]
            batch = x[own], measurement[own], keys[own]
            losses.append(
                self.model.score(*batch, weight=pixels, seed=seed)
                if single
                else self.model.loss(*batch, levels[own], mean_share=s.mean_share, weight=pixels, seed=seed)
            )
        return torch.cat(losses)[torch.cat(places).argsort()]

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The state to save, by file: weights, averaged weights, optimiser moments.

        Raises NonFiniteError like `run`.
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
        """Continue from a saved state, bit for bit."""
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
                        optimiser.state[p] = {k.rsplit("/", 1)[1]: _with_layout_of(v, p) for k, v in moments.items()}


def _nothing(_: Tensor) -> None:
    pass


def _with_layout_of(value: Tensor, p: Tensor) -> Tensor:
    """Copy a saved moment into the memory layout of its parameter, which fused optimisers assume."""
    return torch.empty_like(p).copy_(value) if value.shape == p.shape else value.to(p.device, copy=True)
