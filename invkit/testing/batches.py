"""Checks that the operator of an image does not depend on the other items of its batch, or on its position."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invkit.physics.operators.base import Operator
from invkit.testing.algebra import EXACT, PINV, relative
from invkit.testing.report import Check, Worst
from invkit.testing.trials import Trials, act, draw, maps, normal


def check_keys(trials: Trials) -> Check:
    """The operator of an id is the same alone, in any batch, in any order, and when sampled again."""
    worst = Worst()
    for trial in trials.usable:
        ids = [trial.seed + k for k in range(6)]
        whole = draw(trial.degradation, ids, trial.grid, trial.seed)
        x = normal((6, *trial.grid.picture), trial.dtypes[-1], trial.seed)
        for what, rows in (("again", [0, 1, 2, 3, 4, 5]), ("cut", [2, 3]), ("alone", [5]), ("reversed", [3, 2])):
            part = draw(trial.degradation, [ids[row] for row in rows], trial.grid, trial.seed)
            result = act(part.forward, x[rows])
            # Agreement with one reference is enough: operators that mix up the items of a batch are reported by check_batch.
            errors = [_difference(reference, whole, x, rows, result) for reference in (_by_index, _by_slice)]
            worst.record(min(errors), EXACT[trial.dtypes[-1]], f"{what}, {trial}")
    return worst.check("keys")


def _by_index(whole: Operator, x: Tensor, rows: list[int]) -> Tensor:
    return act(whole.forward, x)[rows]


def _by_slice(whole: Operator, x: Tensor, rows: list[int]) -> Tensor:
    low, high = min(rows), max(rows) + 1
    return act(whole[low:high].forward, x[low:high])[[row - low for row in rows]]


def _difference(
    reference: Callable[[Operator, Tensor, list[int]], Tensor],
    whole: Operator,
    x: Tensor,
    rows: list[int],
    result: Tensor,
) -> float:
    try:
        expected = reference(whole, x, rows)
    except Exception:
        return float("inf")
    return relative(result - expected, expected) if result.shape == expected.shape else float("inf")


def check_batch(trials: Trials) -> Check:
    """A batch acts on each image separately: single items, slices and repeats give the results of the whole batch."""
    worst = Worst()
    for trial in trials.usable:
        dtype = trial.dtypes[-1]
        operator = draw(trial.degradation, range(4), trial.grid, trial.seed)
        for name in maps(operator):
            shape = trial.grid.picture if name == "forward" else operator.range_shape
            v, other = (normal((4, *shape), dtype, trial.seed + salt) for salt in (0, 1))
            limit = max(PINV[dtype], trial.tolerance) if name in ("pinv", "initial") else EXACT[dtype]
            whole, again = (act(maps(operator)[name], u) for u in (v, other))
            for what, apply, argument, expected in (
                ("one by one", _one_by_one, v, whole),
                ("sliced", _halved, v, whole),
                ("repeated", _repeated, torch.cat([v, other]), torch.cat([whole, again])),
            ):
                try:
                    result = apply(operator, name, argument)
                except Exception as error:
                    worst.fault(f"{name} {what} raised {type(error).__name__}: {error} ({trial})")
                    continue
                difference = relative(result - expected, expected) if result.shape == expected.shape else float("inf")
                worst.record(difference, limit, f"{name} {what}, {trial}")
        if (len(operator.repeat(2)), len(operator[1:3])) != (8, 2):
            worst.fault(f"a repeat or a slice has the wrong length ({trial})")
    return worst.check("batch")


def _cut(operator: Operator, name: str, v: Tensor, cuts: Sequence[slice]) -> Tensor:
    return torch.cat([act(maps(operator[cut])[name], v[cut]) for cut in cuts])


def _one_by_one(operator: Operator, name: str, v: Tensor) -> Tensor:
    return _cut(operator, name, v, [slice(i, i + 1) for i in range(len(v))])


def _halved(operator: Operator, name: str, v: Tensor) -> Tensor:
    return _cut(operator, name, v, [slice(0, 3), slice(3, None)])


def _repeated(operator: Operator, name: str, v: Tensor) -> Tensor:
    return act(maps(operator.repeat(2))[name], v)
