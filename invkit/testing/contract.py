"""Checks of the interface: shapes, dtypes, immutability, purity."""

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import Operator
from invkit.testing.algebra import relative
from invkit.testing.report import Check, Worst
from invkit.testing.trials import MAY_REFUSE, Trials, maps


def check_shapes(trials: Trials) -> Check:
    """All grids work (1x1, odd, not square, one channel and three); results are finite and have the right shapes."""
    worst = Worst(
        count=1, detail=f"{trials.tried} draws, {len(trials.refused)} of them on grids that the degradation rejects"
    )
    for text in trials.faults:
        worst.fault(text)
    for grid, message in trials.refused:
        large = min(grid.shape) >= MAY_REFUSE and grid.channels in (trials.channels or [grid.channels])
        if large or message == "(no message)":
            worst.fault(f"sample on {grid}x{grid.channels} raised ValueError: {message}")
    return worst.check("shapes")


def check_frozen(trials: Trials) -> Check:
    """Settings are frozen and strict and forbid extra fields; operators are frozen dataclasses."""
    worst = Worst(count=1, detail="settings and operators")
    for cls in {type(subject) for subject in trials.subjects}:
        for key in ("frozen", "strict", "extra"):
            if cls.model_config.get(key) != Degradation.model_config.get(key):
                worst.fault(f"{cls.__name__} changes {key} in its model_config, which is fixed")
    for kind in {type(trial.operator) for trial in trials.usable}:
        if not (dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen):
            worst.fault(f"{kind.__name__} is not a frozen dataclass; add @dataclass(frozen=True, eq=False)")
    return worst.check("frozen")


def check_dtype(trials: Trials) -> Check:
    """Results have the dtype (float32 or float64) and the device of the argument, and float64 is computed in full precision."""
    worst = Worst(count=1, detail=f"float32 and float64 on {', '.join(_devices())}")
    for trial in trials.usable:
        for text in trial.dtype_faults:
            worst.fault(text)
        for device in _devices()[1:]:
            keys = Keys.of(trial.seed, "conformance", trial.ids, device)
            for name in trial.maps:
                operator = trial.degradation.sample(keys[:], trial.grid)
                v = trial.argument(name, trial.dtypes[0]).to(device)
                try:
                    result = maps(operator)[name](v)
                    expected = maps(operator.to("cpu"))[name](v.cpu())
                except RuntimeError as error:
                    worst.fault(f"{name} on {device} raised {str(error).splitlines()[0]} ({trial})")
                    continue
                if result.device != v.device or relative(result.cpu() - expected, expected) > 1e-3:
                    worst.fault(
                        f"{name} on {device} differs from the result on the CPU, or is on {result.device} ({trial})"
                    )
    return worst.check("dtype")


def _devices() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def check_purity(trials: Trials) -> Check:
    """Sampling and applying operators do not modify arguments, degradation, operator or global random state."""
    worst = Worst(count=1, detail=f"{len(trials.usable)} draws, each map twice")
    for trial in trials.usable:
        keys = Keys.of(trial.seed, "conformance", trial.ids)
        before = global_state(), snapshot(trial.degradation), keys.state.clone()
        operator = trial.degradation.sample(keys, trial.grid)
        after = global_state(), snapshot(trial.degradation), keys.state
        for what, old, new in zip(("a global generator", "the degradation", "the keys"), before, after, strict=True):
            if not same(old, new):
                worst.fault(f"sample changes {what} ({trial})")
        for name, fn in maps(operator).items():
            v = trial.argument(name, trial.dtypes[0])
            original, state, random_state = v.clone(), snapshot(operator), global_state()
            first = fn(v)
            for what, old, new in (
                ("its argument", original, v),
                ("the operator", state, snapshot(operator)),
                ("a global generator", random_state, global_state()),
            ):
                if not same(old, new):
                    worst.fault(f"{name} changes {what} ({trial})")
            if not same(first, fn(original.clone())):
                worst.fault(f"{name} gives a different result when repeated ({trial})")
    return worst.check("purity")


def global_state() -> list[Any]:
    """The state of all global random generators, and torch's default dtype and grad mode."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    own = [torch.get_rng_state(), *cuda, *np.random.get_state(), random.getstate()]  # noqa: NPY002
    return snapshot([*own, torch.get_default_dtype(), torch.is_grad_enabled()])


def snapshot(value: Any) -> Any:
    """A deep copy of a value, reduced to containers, arrays and plain values that `same` can compare."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(item) for item in value]
    if isinstance(value, BaseModel):
        return snapshot([vars(value), value.__pydantic_private__])
    if isinstance(value, Operator | nn.Module) or dataclasses.is_dataclass(value):
        return snapshot(vars(value)) if hasattr(value, "__dict__") else value
    return value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a is b or bool(a == b)
