"""Checks of conduct: frozen, pure, keyed, batched, typed."""

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from invkit.degradation import Degradation
from invkit.keys import Keys
from invkit.operators import LinearOperator
from invkit.testing.algebra import EXACT, PINV, relative
from invkit.testing.report import Check, Worst
from invkit.testing.trials import MAPS, MAY_REFUSE, Trial, Trials, act, draw


def check_shapes(trials: Trials) -> Check:
    """Every grid is served: 1x1, odd, not square, one channel and three; results have their shapes and are finite."""
    worst = Worst(seen=1, detail=f"{trials.tried} draws, {len(trials.refused)} of them on grids that are refused")
    for text in trials.faults:
        worst.fault(text)
    for grid, message in trials.refused:
        large = min(grid.shape) >= MAY_REFUSE and grid.channels in (trials.channels or [grid.channels])
        if large or message == "(no message)":
            worst.fault(f"sample on {grid}x{grid.channels} raised ValueError: {message}")
    return worst.check("shapes")


def check_frozen(trials: Trials) -> Check:
    """Settings are frozen, strict and closed; operators are frozen dataclasses."""
    worst = Worst(seen=1, detail="settings and operators")
    for cls in {type(subject) for subject in trials.subjects}:
        for key in ("frozen", "strict", "extra"):
            if cls.model_config.get(key) != Degradation.model_config[key]:  # type: ignore[literal-required]
                worst.fault(f"{cls.__name__} changes {key} in its model_config, which is fixed")
    for cls in {type(trial.operator) for trial in trials.usable}:
        if not (dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):  # type: ignore[attr-defined]
            worst.fault(f"{cls.__name__} is no frozen dataclass; write @dataclass(frozen=True, eq=False) above it")
    return worst.check("frozen")


def check_dtype(trials: Trials) -> Check:
    """float32 in, float32 out; float64 in, float64 out and computed in it; on the device of the argument."""
    worst = Worst(seen=1, detail=f"float32 and float64 on {', '.join(_devices())}")
    for trial in trials.usable:
        for text in trial.dtype_faults:
            worst.fault(text)
        for device in _devices()[1:]:
            keys = Keys.of(trial.seed, "conformance", trial.ids, device)
            for name in MAPS:
                operator = trial.degradation.sample(keys[:], trial.grid)
                v = trial.argument(name, trial.dtypes[0]).to(device)
                try:
                    result = getattr(operator, name)(v)
                    here = getattr(operator.to("cpu"), name)(v.cpu())
                except RuntimeError as error:
                    worst.fault(f"{name} on {device} raised {str(error).splitlines()[0]} ({trial})")
                    continue
                if result.device != v.device or relative(result.cpu() - here, here) > 1e-3:
                    worst.fault(f"{name} on {device} gave another result, on {result.device} ({trial})")
    return worst.check("dtype")


def _devices() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def check_purity(trials: Trials) -> Check:
    """Sampling and applying change no argument, no state of degradation or operator, and no global generator."""
    worst = Worst(seen=1, detail=f"{len(trials.usable)} draws, each map twice")
    for trial in trials.usable:
        keys = Keys.of(trial.seed, "conformance", trial.ids)
        before = _globals(), _state(trial.degradation), keys.state.clone()
        operator = trial.degradation.sample(keys, trial.grid)
        after = _globals(), _state(trial.degradation), keys.state
        for what, old, new in zip(("a global generator", "the degradation", "the keys"), before, after, strict=True):
            if not _same(old, new):
                worst.fault(f"sample changes {what} ({trial})")
        for name in MAPS:
            v = trial.argument(name, trial.dtypes[0])
            given, state, world = v.clone(), _state(operator), _globals()
            first = getattr(operator, name)(v)
            for what, old, new in (
                ("its argument", given, v),
                ("the operator", state, _state(operator)),
                ("a global generator", world, _globals()),
            ):
                if not _same(old, new):
                    worst.fault(f"{name} changes {what} ({trial})")
            if not _same(first, getattr(operator, name)(given.clone())):
                worst.fault(f"{name} gives another result the second time ({trial})")
    return worst.check("purity")


def _globals() -> list[Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    own = [torch.get_rng_state(), *cuda, *np.random.get_state(), random.getstate()]  # noqa: NPY002
    return _state([*own, torch.get_default_dtype(), torch.is_grad_enabled()])


def _state(value: Any) -> Any:
    """A copy of everything that a value is made of."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: _state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_state(item) for item in value]
    if isinstance(value, BaseModel):
        return _state([vars(value), value.__pydantic_private__])
    if isinstance(value, LinearOperator | nn.Module) or dataclasses.is_dataclass(value):
        return _state(vars(value)) if hasattr(value, "__dict__") else value
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    return a is b or bool(a == b)


def check_keys(trials: Trials) -> Check:
    """The operator of an id is the same alone, in any batch, in any order, every time."""
    worst = Worst()
    for trial in trials.usable:
        dtype, ids = trial.dtypes[-1], [trial.seed + k for k in range(6)]
        whole = draw(trial.degradation, ids, trial.grid, trial.seed)
        x = Trial(trial.degradation, trial.grid, tuple(ids), trial.seed, whole).pictures(dtype)
        expected = act(whole.forward, x)
        for what, picked in (("again", range(6)), ("cut", (2, 3)), ("alone", (5,)), ("turned", (3, 2))):
            rows = list(picked)
            part = draw(trial.degradation, [ids[row] for row in rows], trial.grid, trial.seed)
            got, low = act(part.forward, x[rows]), min(rows)
            if got.shape[1:] != expected.shape[1:]:
                worst.fault(f"{what}: range {tuple(got.shape[1:])}, want {tuple(expected.shape[1:])} ({trial})")
                continue
            # what couples or mislays pictures is the check of batches to find: here it is enough that one way agrees
            ways = [lambda rows=rows: expected[rows], lambda rows=rows, low=low: _sliced(whole, x, rows, low)]
            error = min(relative(got - want, want) for way in ways if (want := _try(way)) is not None)
            worst.see(error, EXACT[dtype], f"{what}, {trial}")
    return worst.check("keys")


def _sliced(whole: LinearOperator, x: Tensor, rows: list[int], low: int) -> Tensor:
    return act(whole[low : max(rows) + 1].forward, x[low : max(rows) + 1])[[row - low for row in rows]]


def _try(way: Any) -> Tensor | None:
    try:
        return way()
    except Exception:
        return None


def check_batch(trials: Trials) -> Check:
    """A batch is a loop: slices, single pictures and repeats act as the whole does."""
    worst = Worst()
    for trial in trials.usable:
        dtype = trial.dtypes[-1]
        operator = draw(trial.degradation, range(4), trial.grid, trial.seed)
        four = Trial(trial.degradation, trial.grid, (0, 1, 2, 3), trial.seed, operator)
        for name in MAPS:
            v = four.argument(name, dtype)
            limit = max(PINV[dtype], operator.pinv_tolerance) if name == "pinv" else EXACT[dtype]
            whole = act(getattr(operator, name), v)
            ways = {
                "one by one": lambda n=name, v=v: torch.cat(
                    [act(getattr(operator[i : i + 1], n), v[i : i + 1]) for i in range(4)]
                ),
                "sliced": lambda n=name, v=v: torch.cat([act(getattr(operator[s], n), v[s]) for s in _HALVES]),
                "repeated": lambda n=name, v=v: act(getattr(operator.repeat(2), n), torch.cat([v, 2 * v])),
            }
            for what, way in ways.items():
                want = torch.cat([whole, 2 * whole]) if what == "repeated" else whole
                try:
                    got = way()
                except Exception as error:
                    worst.fault(f"{name} {what} raised {type(error).__name__}: {error} ({trial})")
                    continue
                error = relative(got - want, want) if got.shape == want.shape else float("inf")
                worst.see(error, limit, f"{name} {what}, {trial}")
        if len(operator.repeat(2)) != 8 or len(operator[1:3]) != 2:
            worst.fault(f"a slice or a repeat has the wrong length ({trial})")
    return worst.check("batch")


_HALVES = (slice(0, 3), slice(3, None))
