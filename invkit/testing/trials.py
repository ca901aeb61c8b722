"""Sampled operators for the checks, with their grids, and random images and measurements to apply them to."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from invkit.core.errors import first_line
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.testing.examples import bases, subjects

GRIDS = tuple(
    Grid(*size)
    for size in (
        (1, 1, 3),
        (8, 8, 3),
        (9, 9, 1),
        (15, 10, 3),
        (1, 1, 1),
        (11, 24, 1),
        (1, 6, 3),
        (32, 32, 3),
        (3, 3, 3),
    )
)
MAY_REFUSE = 8  # grids with a shorter side below this may be rejected
MAPS = ("forward", "adjoint", "pinv")  # of linear operators
OTHER = ("forward", "vjp", "initial")  # of others


@contextlib.contextmanager
def fixed_random_state() -> Iterator[None]:
    """Context with fixed global random states, restored at its end, so that code that uses them is reproducible."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.random.default_generator.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def draw(degradation: Degradation, ids: Sequence[int], grid: Grid, seed: int) -> Operator:
    """Sample the operators of some ids."""
    with fixed_random_state():
        return degradation.sample(Keys.of(seed, "conformance", ids), grid)


def act(fn: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """`fn(v)` on a copy of `v`, with fixed random states."""
    with fixed_random_state():
        return fn(v.clone())


def maps(operator: Operator) -> dict[str, Callable[[Tensor], Tensor]]:
    """The maps that an operator defines, as functions of one argument: `vjp` at keyed images, as a function of v."""
    if isinstance(operator, LinearOperator):
        return {name: getattr(operator, name) for name in MAPS}

    def vjp(v: Tensor) -> Tensor:
        return operator.vjp(normal((1, *operator.grid.picture), v.dtype, 17).to(v.device).expand(len(v), -1, -1, -1), v)

    return dict(zip(OTHER, (operator.forward, vjp, operator.initial), strict=True))


def normal(shape: Sequence[int], dtype: torch.dtype, seed: int) -> Tensor:
    """Standard normal numbers, drawn in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@dataclass(frozen=True, eq=False)
class Trial:
    """Operators sampled from a degradation on one grid, and random arguments for them."""

    degradation: Degradation
    grid: Grid
    ids: tuple[int, ...]
    seed: int
    operator: Operator
    dtypes: tuple[torch.dtype, ...] = ()  # for which all results have the right shape and dtype
    dtype_faults: tuple[str, ...] = ()
    at_zero: dict[tuple[str, torch.dtype], Tensor] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in self.degradation if k in self.degradation.model_fields_set)
        return f"{self.grid}x{self.grid.channels}, ids {list(self.ids)}" + (f", {settings}" if settings else "")

    @property
    def tolerance(self) -> float:
        return self.operator.pinv_tolerance if isinstance(self.operator, LinearOperator) else 0.0

    @property
    def maps(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return maps(self.operator)

    def images(self, dtype: torch.dtype, salt: int = 0) -> Tensor:
        return normal((len(self.ids), *self.grid.picture), dtype, 1000 * self.seed + salt)

    def measurements(self, dtype: torch.dtype, salt: int = 0) -> Tensor:
        return normal((len(self.ids), *self.operator.range_shape), dtype, 1000 * self.seed + 500 + salt)

    def argument(self, name: str, dtype: torch.dtype, salt: int = 0) -> Tensor:
        """A random argument of the map `name`."""
        return self.images(dtype, salt) if name == "forward" else self.measurements(dtype, salt)

    def linear(self, name: str, v: Tensor) -> Tensor:
        """The map `name` minus its value at zero, so that an affine map fails only the check of linearity."""
        fn, key = self.maps[name], (name, v.dtype)
        if key not in self.at_zero:
            self.at_zero[key] = act(fn, torch.zeros_like(v))
        return act(fn, v) - self.at_zero[key]


@dataclass
class Trials:
    """The trials of a degradation, and the errors met while sampling them."""

    starts: list[Degradation]
    subjects: list[Degradation]
    seed: int
    usable: list[Trial] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: list[tuple[Grid, str]] = field(default_factory=list)
    tried: int = 0

    @property
    def linear(self) -> list[Trial]:
        """The usable trials whose operator is linear."""
        return [trial for trial in self.usable if isinstance(trial.operator, LinearOperator)]

    @property
    def channels(self) -> list[int]:
        """The accepted numbers of channels, the largest first."""
        return sorted({trial.grid.channels for trial in self.usable}, reverse=True)

    @property
    def dtype(self) -> torch.dtype:
        """The first usable dtype."""
        return self.usable[0].dtypes[0]

    def attempt(self, degradation: Degradation, grid: Grid, ids: Sequence[int], seed: int) -> Trial | None:
        """Sample one trial and add it to `usable`; on failure record the reason and return None."""
        self.tried += 1
        try:
            trial = Trial(degradation, grid, tuple(ids), seed, draw(degradation, ids, grid, seed))
        except ValueError as error:
            self.refused.append((grid, str(error) or "(no message)"))
            return None
        except Exception as error:
            self.faults.append(f"sample on {grid}x{grid.channels} raised {type(error).__name__}: {first_line(error)}")
            return None
        faults = {dtype: fault(trial, dtype) for dtype in (torch.float32, torch.float64)}
        dtypes = tuple(dtype for dtype, text in faults.items() if not text)
        if not dtypes:
            self.faults.append(f"{faults[torch.float32]} ({trial})")
            return None
        dtype_faults = tuple(f"{dtype}: {text} ({trial})" for dtype, text in faults.items() if text)
        trial = Trial(degradation, grid, tuple(ids), seed, trial.operator, dtypes, dtype_faults)
        self.usable.append(trial)
        return trial


def make_trials(
    degradation: Degradation | type[Degradation], draws: int, seed: int, grids: Sequence[Grid] | None
) -> Trials:
    """`draws` trials or more, alternately on special and random grids; also each of `subjects` on every special grid.

    With `grids`, these are the special grids and no others are used.
    """
    starts = [degradation] if isinstance(degradation, Degradation) else bases(degradation)
    chosen = starts if isinstance(degradation, Degradation) else subjects(starts)
    trials = Trials(starts, chosen, seed)
    special = tuple(grids or GRIDS)
    rng = random.Random(seed)
    for number in range(max(draws, len(chosen))):
        subject = chosen[(number + number // len(chosen)) % len(chosen)]
        if grids or number % 2 == 0:
            grid = special[number // (1 if grids else 2) % len(special)]
        else:
            grid = Grid(rng.randint(8, 28), rng.randint(8, 28), rng.choice((1, 3)))
        ids = [rng.randrange(10**6) for _ in range(rng.randint(1, 3))]
        before = len(trials.refused)
        trials.attempt(subject, grid, ids, seed + number)
        if len(trials.refused) > before and not grids:  # perhaps the degradation rejects the number of channels
            trials.attempt(subject, replace(grid, channels=4 - grid.channels), ids, seed + number)
    kept = list(trials.usable)
    for subject in chosen:
        for grid in special:
            trials.attempt(subject, grid, [0, 1], seed)
    if kept:  # the additional trials check shapes only; the expensive checks use the first ones
        trials.usable = kept
    return trials


def fault(trial: Trial, dtype: torch.dtype) -> str | None:
    """An error in shape, dtype, device or finiteness of the results for arguments of a dtype; None if there is none."""
    operator, batch = trial.operator, len(trial.ids)
    if operator.grid != trial.grid or len(operator) != batch:
        return f"requested {batch} operators on {trial.grid!r}, got {len(operator)} on {operator.grid!r}"
    for name, fn in trial.maps.items():
        v = trial.argument(name, dtype)
        shape = (batch, *(operator.range_shape if name == "forward" else trial.grid.picture))
        try:
            result = act(fn, v)
        except Exception as error:
            return f"{name} raised {type(error).__name__}: {first_line(error)}"
        if tuple(result.shape) != shape:
            return f"{name} gave shape {tuple(result.shape)}, expected {shape}"
        if not bool(result.isfinite().all()):
            return f"{name} gave non-finite values"
        if result.dtype != dtype or result.device != v.device:
            return f"{name} gave {result.dtype} on {result.device}"
        if dtype == torch.float64 and name not in ("pinv", "initial") and _rounds_to_float32(fn, v, result):
            return f"{name} computes in float32"
    return None


def _rounds_to_float32(fn: Callable[[Tensor], Tensor], v: Tensor, result: Tensor) -> bool:
    """Whether a map gives the same result for an argument rounded to float32."""
    return bool(result.any()) and torch.equal(act(fn, v.float().double()), result)
