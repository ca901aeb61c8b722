"""Conformance of metrics: components of each image, and values computed from their means."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from invkit.core.errors import Unavailable, first_line
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Metric, Outcome, Readout, SetMetric
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.separable import Separable
from invkit.testing.algebra import relative
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import Lines, bases
from invkit.testing.report import Check, Report, Worst, guarded

GRIDS = (Grid(16, 24, 1), Grid(12, 20), Grid(32, 32))
IMAGES, SAMPLES = 4, 39
ALONE = 1e-6  # relative difference of an image's components alone and in a batch


def measurements(grid: Grid) -> Iterator[tuple[Tensor, Measurement]]:
    """Random images of a grid, with measurements by a mask, and of all pixels with noise."""
    keys = Keys.of(0, f"conformance/{grid}", range(IMAGES))
    x = keys.normal("x", *grid.picture) * 0.4
    yield x, measure(Lines().sample(keys, grid), x, Noise(), keys)
    yield x, measure(Separable(IMAGES, grid), x, Noise(sigma=0.1), keys)


def outcomes() -> Iterator[Outcome]:
    """Outcomes of each kind, with estimates that are the truth with noise."""
    readouts: tuple[Readout, ...] = ("point", "mean", "sample")
    for grid in GRIDS:
        for (x, measurement), readout in product(measurements(grid), readouts):
            noise = Keys.of(1, "conformance", range(SAMPLES)).normal("error", IMAGES, *grid.picture)
            samples = x + 0.3 * noise
            if readout == "sample":
                yield Outcome(x, measurement, readout, samples[0], samples, samples.mean(0))
            else:
                yield Outcome(x, measurement, readout, samples.mean(0))


def part(outcome: Outcome, i: int) -> Outcome:
    """The outcome of image `i` alone."""
    cut = slice(i, i + 1)
    samples, mean = outcome.samples, outcome.mean
    return Outcome(
        outcome.truth[cut], outcome.measurement[cut], outcome.readout, outcome.estimate[cut],
        None if samples is None else samples[:, cut], None if mean is None else mean[cut],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Trial:
    """A metric, the outcomes for which it is defined with their components, and why it is not defined for others."""

    metric: Metric
    defined: list[tuple[Outcome, dict[str, Tensor]]]
    reason: str


def _about(outcome: Outcome) -> str:
    kind = "mask" if outcome.measurement.observed is not None else "no mask"
    return f"{outcome.readout}, {kind}, {outcome.measurement.grid}x{outcome.measurement.grid.channels}"


def check_components(trial: Trial) -> Check:
    """Components are finite numbers of each image, with the same names for all images of a grid."""
    worst, names = Worst(), dict[Grid, set[str]]()
    for outcome, parts in trial.defined:
        worst.record(0, 0, f"{len(trial.defined)} outcomes")
        if not parts or names.setdefault(outcome.measurement.grid, set(parts)) != set(parts):
            worst.fault(f"components {sorted(parts)} ({_about(outcome)})")
        for name, values in parts.items():
            ndim = 2 if isinstance(trial.metric, SetMetric) else 1
            if not isinstance(values, Tensor) or values.ndim != ndim or len(values) != IMAGES:
                shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                worst.fault(f"{name} is {shape}, expected one number for each of {IMAGES} images ({_about(outcome)})")
            elif values.is_complex() or not bool(values.isfinite().all()):
                worst.fault(f"{name} is not finite and real ({_about(outcome)})")
    return worst.check("components", trial.reason)


def check_value(trial: Trial) -> Check:
    """`reduce` gives a number for the means, and for arrays of means the array of these numbers."""
    worst = Worst()
    for outcome, parts in trial.defined:
        arrays = {name: values.double().numpy() for name, values in parts.items()}
        if isinstance(trial.metric, SetMetric):
            value = trial.metric.of_set(arrays)
            worst.record(0, 0, "of_set")
            if not isinstance(value, float):
                worst.fault(f"of_set returns {type(value).__name__} ({_about(outcome)})")
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = np.asarray(trial.metric.reduce(arrays))
            each = [
                np.asarray(trial.metric.reduce({k: v[i : i + 1] for k, v in arrays.items()})) for i in range(IMAGES)
            ]
        if whole.shape != (IMAGES,) or any(one.shape != (1,) for one in each):
            worst.fault(f"reduce of {IMAGES} means has shape {whole.shape} ({_about(outcome)})")
        else:
            error = relative(
                *map(torch.from_numpy, (np.nan_to_num(whole - np.concatenate(each)), np.nan_to_num(whole)))
            )
            worst.record(error, ALONE, f"reduce, {_about(outcome)}")
    return worst.check("value", trial.reason)


def check_purity(trial: Trial) -> Check:
    """`components` changes nothing and gives the same bits when repeated."""
    worst = Worst()
    for outcome, parts in trial.defined:
        worst.record(0, 0, f"{len(trial.defined)} outcomes")
        before = snapshot([outcome.truth, outcome.estimate, outcome.samples, outcome.measurement]), global_state()
        again = trial.metric.components(outcome)
        after = snapshot([outcome.truth, outcome.estimate, outcome.samples, outcome.measurement]), global_state()
        for what, old, new in zip(("its outcome", "a global generator"), before, after, strict=True):
            if not same(old, new):
                worst.fault(f"components changes {what} ({_about(outcome)})")
        if not same(snapshot(parts), snapshot(again)):
            worst.fault(f"components gives a different result when repeated ({_about(outcome)})")
    return worst.check("purity", trial.reason)


def check_batch(trial: Trial) -> Check:
    """The components of an image do not depend on the other images of its batch."""
    worst = Worst()
    for outcome, parts in trial.defined:
        alone = trial.metric.components(part(outcome, 2))
        for name, values in parts.items():
            error = relative(alone[name] - values[2:3], values[2:3]) if name in alone else float("inf")
            worst.record(error, ALONE, f"{name}, {_about(outcome)}")
    return worst.check("batch", trial.reason)


CHECKS: dict[str, Callable[[Trial], Check]] = {
    "components": check_components, "value": check_value, "purity": check_purity, "batch": check_batch,
}  # fmt: skip


def check_metric(metric: Metric | type[Metric], name: str = "") -> Report:
    """Check a metric, or its class with default settings, on point estimates, means and samples of random images.

    >>> from invkit.evaluation.metrics import METRICS
    >>> check_metric(METRICS["psnr"]).passed
    True
    """
    metric = metric if isinstance(metric, Metric) else bases(metric)[0]
    defined, reason, name = [], "", name or type(metric).__name__
    for outcome in outcomes():
        try:
            defined.append((outcome, metric.components(outcome)))
        except Unavailable as why:
            reason = str(why)
        except Exception as error:
            detail = f"raised {type(error).__name__}: {first_line(error)} ({_about(outcome)})"
            return Report(name, (Check("components", False, None, None, detail),), Metric.kind)
    trial = Trial(metric, defined, reason)
    return Report(name, tuple(guarded(title, check, trial) for title, check in CHECKS.items()), Metric.kind)
