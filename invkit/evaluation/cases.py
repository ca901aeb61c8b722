"""The test images that a report shows: the best, the median and the worst of a method, and those that the recipe names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.loop import SHOWN, SUMMARY, GridResults, summary
from invkit.evaluation.metrics import COLUMNS, Metric
from invkit.evaluation.results import MethodScores
from invkit.physics.measurement import Measurement

RANKED_BY = ("crps", "psnr", *COLUMNS)  # the first of them that the method has


@dataclass(frozen=True)
class Case:
    """A test image, why it is shown, and the scores of each method on it alone."""

    image: int
    why: str  # "best", "median", "worst", or "" if the recipe names it
    scores: Mapping[str, str]  # by method


@dataclass(frozen=True, eq=False)
class Estimates:
    """The results of one method on the shown images, (B, C, H, W), on the CPU, in [-1, 1] units, pasted."""

    mean: Tensor  # its mean or point estimate, or else the mean of its samples
    sample: Tensor | None
    std: Tensor | None


@dataclass(frozen=True, eq=False)
class Examples:
    """The shown images of a grid with their measurements and the estimates of every method, for the report."""

    rule: str  # by which best, median and worst are chosen
    cases: tuple[Case, ...]
    measurement: Measurement
    truth: Tensor  # (B, C, H, W)
    estimates: Mapping[str, Estimates]


Kept = dict[str, Tensor]  # those of `mean`, `sample`, `average` and `std` of a method on one image, (1, C, H, W)


@torch.no_grad()
def examples(results: GridResults) -> Examples:
    """Choose the images, and collect what the evaluation kept of them; images of which it kept nothing are computed again."""
    loop = results.loop
    rule, reasons = _choose(results)
    ids = list(reasons)
    truth, measurement = loop.protocol.measure(loop.images, ids)
    measurement = measurement.to("cpu")
    found = [_kept(results, i) if i < SHOWN else _computed(results, i) for i in ids]
    cases = tuple(Case(i, reasons[i], _scores(results, i)) for i in ids)
    estimates = {
        method.name: _joined([one[method.name] for one in found], measurement.paste)
        for method in loop.methods
        if found and found[0].get(method.name)
    }
    return Examples(rule, cases, measurement, truth.cpu(), estimates)


def _choose(results: GridResults) -> tuple[str, dict[int, str]]:
    """The rule, and the reason of each image: the best, the median and the worst first."""
    count, metrics = results.loop.count, results.loop.protocol.metrics
    chosen: dict[int, str] = {}
    rule = ""
    row = ([row for row in results.scores if row.readout == "sample"] or results.scores)[-1]
    values = {name: _each(row, name, metrics) for name in RANKED_BY if name in metrics and metrics[name].better}
    if count >= 3 and (name := next((name for name, one in values.items() if np.isfinite(one).all()), None)):
        order = np.argsort(values[name] if metrics[name].better == "lower" else -values[name], kind="stable")
        chosen = {int(order[0]): "best", int(order[count // 2]): "median", int(order[-1]): "worst"}
        rule = f"of {count} test images, by {name} of {row.method.name} ({row.readout})"
    for i in results.loop.protocol.settings.show:
        if i < count:
            chosen.setdefault(i, "")
    return rule, chosen


def _each(row: MethodScores, name: str, metrics: Mapping[str, Metric]) -> NDArray[np.float64]:
    """The values of a metric on each single image; NaN where it is not defined."""
    parts = row.values(name)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.full(1, np.nan) if parts is None else metrics[name].reduce(parts)


def _scores(results: GridResults, image: int) -> dict[str, str]:
    """The PSNR of each method's mean and the CRPS of its samples on one image."""
    metrics = results.loop.protocol.metrics
    found: dict[str, list[str]] = {}
    for row in results.scores:
        name, text = ("crps", "CRPS {:.3f}") if row.readout == "sample" else ("psnr", "{:.1f} dB")
        if name in metrics and row.values(name) and np.isfinite(value := _each(row, name, metrics)[image]):
            found.setdefault(row.method.name, []).append(text.format(value))
    return {name: ", ".join(parts) for name, parts in found.items()}


def _readouts(results: GridResults) -> dict[str, set[str]]:
    """The estimators of each method that refused none of the images."""
    found: dict[str, set[str]] = {}
    for row in results.scores:
        if row.components:
            found.setdefault(row.method.name, set()).add(row.readout)
    return found


def _kept(results: GridResults, image: int) -> dict[str, Kept]:
    """The results of every method on one of the first images."""
    found: dict[str, Kept] = {}
    for name, readouts in _readouts(results).items():
        kept = {key: x[image : image + 1].float() for key, x in results.kept[name].items()}
        drawn = {"sample": kept["samples"][:, 0], **{key: kept[key] for key in SUMMARY}} if "sample" in readouts else {}
        found[name] = drawn | ({"mean": kept["mean"]} if readouts - {"sample"} else {})
    return found


def _computed(results: GridResults, image: int) -> dict[str, Kept]:
    """The results of every method on one image, with the same random numbers as in the evaluation."""
    loop, found = results.loop, dict[str, Kept]()
    _, measurement = loop.protocol.measure(loop.images, [image])
    readouts = _readouts(results)
    for method in loop.methods:
        if not (chosen := readouts.get(method.name, set())):
            continue
        kept: Kept = {}
        if "sample" in chosen:
            keys = loop.protocol.sample_keys(method.name, [image])
            samples = method.sample(measurement, keys, loop.protocol.settings.samples)
            kept = {"sample": samples[0], **summary(samples)}
        if chosen - {"sample"}:
            kept["mean"] = method.mean(measurement)
        found[method.name] = {key: x.float().cpu() for key, x in kept.items()}
    return found


def _joined(found: Sequence[Kept], paste: Callable[[Tensor], Tensor]) -> Estimates:
    tensors = {key: torch.cat([one[key] for one in found]) for key in found[0]}
    sample = tensors.get("sample")
    mean = tensors["mean"] if "mean" in tensors else tensors["average"]
    return Estimates(paste(mean), None if sample is None else paste(sample), tensors.get("std"))
