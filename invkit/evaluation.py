"""The evaluator: every row of the table is a reconstructor, asked about the same keyed measurements."""

import csv
import hashlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from invkit.data.base import Images
from invkit.degradation import Degradation, Measurement, Noise, measure
from invkit.device import synchronise
from invkit.files import write_atomic
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.metrics import METRICS, Metric, Outcome, Unavailable, metric_name
from invkit.metrics.base import Readout
from invkit.reconstruct import METHODS, Method, Reconstructor
from invkit.settings import Settings
from invkit.statistics import RESAMPLES, Bootstrap

KEPT_PICTURES = 16  # reconstructions of so many pictures are saved
KEPT_SAMPLES = 4
SHOWN_PICTURES = 8  # of them in the report

Components = dict[str, NDArray[np.float64]]  # of every picture, (N,) each


class Eval(Settings):
    """What is evaluated, and how."""

    images: int = Field(128, ge=1, description="test pictures, as far as there are so many")
    samples: int = Field(19, ge=1, le=1000, description="posterior samples of each picture; 19 give 90 % intervals, 39 give 95 %")
    methods: tuple[Method, ...] = Field(
        tuple(METHODS[name]() for name in ("nearest", "gaussian", "model")), min_length=1, description="rows of the table"
    )
    metrics: tuple[Metric, ...] = Field(tuple(cls() for cls in METRICS.values()), min_length=1, description="columns of the table")
    grids: tuple[int | tuple[int, int], ...] | None = Field(None, min_length=1, description="grids of the test; null: those of training")
    batch: int = Field(16, ge=1, description="pictures at a time; results do not depend on it but for rounding")
    paired_to: str = Field("gaussian", description="the method that differences are taken to")


@dataclass(frozen=True, eq=False)
class Shown:
    """A few pictures for the report, by label: (B, C, H, W) each, in [-1, 1] units."""

    truth: Tensor
    measurement: Measurement
    means: Mapping[str, Tensor]  # of each method that has one, pasted
    samples: Mapping[str, Tensor]  # (K, B, C, H, W)


@dataclass(eq=False)
class _Row:
    """What is gathered of one row while the pictures go by."""

    reconstructor: Reconstructor
    readout: Readout
    grid: Grid
    samples: int
    components: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, outcome: Outcome, metrics: Sequence[Metric]) -> None:
        for metric in metrics:
            name = metric_name(metric)
            try:
                parts = {key: value.cpu() for key, value in metric.components(outcome).items()}
                self.components.setdefault(name, []).append(parts)
            except Unavailable as error:
                self.reasons[name] = str(error)

    def of(self, metric: Metric) -> Components | None:
        batches = self.components.get(metric_name(metric))
        if not batches:
            return None
        return {key: np.concatenate([batch[key].double().numpy() for batch in batches]) for key in batches[0]}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A table, what it cost, and the pictures behind it."""

    table: dict[str, Any]
    cost: dict[str, Any]
    record: dict[str, Any]
    per_image: list[dict[str, Any]]
    reconstructions: Mapping[str, Mapping[str, NDArray[Any]]]
    shown: Shown

    def write(self, folder: Path) -> None:
        """Write table.json, table.csv, per_image.csv, cost.json and reconstructions/ atomically."""
        write_atomic(folder / "table.json", to_json(self.table))
        write_atomic(folder / "table.csv", to_csv(flat_rows(self.table)))
        write_atomic(folder / "per_image.csv", to_csv(self.per_image))
        write_atomic(folder / "cost.json", to_json(self.cost))
        for name, arrays in self.reconstructions.items():
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            write_atomic(folder / "reconstructions" / f"{name}.npz", buffer.getvalue())


def evaluate_rows(
    methods: Sequence[Reconstructor],
    images: Mapping[Grid, Images],
    degradation: Degradation,
    noise: Noise,
    settings: Eval,
    *,
    seed: int,
    device: torch.device,
    run: str,
    degradation_name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Evaluate reconstructors on the first pictures of a test split, on every grid; nothing is written.

    Operators, noise and samples are keyed by picture, so every row sees the same measurements and no figure depends on
    the batch cut (but for rounding). `progress` hears of every batch and may raise to stop.
    """
    rows: list[_Row] = []
    masks = hashlib.sha256()
    per_image: list[dict[str, Any]] = []
    saved: dict[str, dict[str, Tensor]] = {}
    shown: Shown | None = None
    counts = {grid: min(settings.images, len(pictures)) for grid, pictures in images.items()}
    done, total = 0, sum(counts.values())
    table_rows, differences, cost_rows = [], [], []
    for grid, pictures in images.items():
        here = [_Row(m, r, grid, settings.samples if r == "sample" else 0) for m in methods for r in m.readouts]  # type: ignore[arg-type]
        rows += here
        warm = False
        for first in range(0, counts[grid], settings.batch):
            ids = list(range(first, min(first + settings.batch, counts[grid])))
            truth = pictures[ids].to(device)
            operator = degradation.sample(Keys.of(seed, "eval/operator", ids, device), grid)
            measurement = measure(operator, truth, noise, Keys.of(seed, "eval/noise", ids, device))
            _digest(masks, measurement)
            if not warm:  # first calls build tables and choose kernels: not what a picture costs
                for method in methods:
                    _ask(method, measurement[:1], Keys.of(seed, "eval/warm", ids[:1], device), 1)
                warm = True
            outcomes = _reconstruct(here, truth, measurement, seed, ids, settings.samples)
            for row, outcome in zip(here, outcomes, strict=True):
                row.add(outcome, settings.metrics)
            if shown is None:
                shown = _show(here, outcomes)
                saved = _keep(here, outcomes)
            done += len(ids)
            progress(done, total)
        bootstrap = Bootstrap.of([pictures.group(i) for i in range(counts[grid])], seed)
        values = {id(row): {metric_name(m): _values(row, m, bootstrap) for m in settings.metrics} for row in here}
        for row in here:
            table_rows.append(_table_row(row, settings.metrics, values[id(row)], bootstrap, run, degradation_name))
            differences += _differences(row, here, settings, values, bootstrap, run)
            cost_rows.append(_cost_row(row, counts[grid], run))
            per_image += _per_image(row, settings.metrics, pictures, counts[grid], run)
    assert shown is not None
    protocol = {
        "seed": seed,
        "samples": settings.samples,
        "degradation": {"name": degradation_name, **degradation.model_dump(mode="json")},
        "noise_sigma": noise.sigma,
        "interval": f"95 % percentile bootstrap, {RESAMPLES} resamples of whole groups",
        "groups": len({pictures.group(i) for pictures in images.values() for i in range(counts[next(iter(images))])}),
        "paired_to": settings.paired_to,
    }
    images_count = max(counts.values())
    table = {"schema": "invkit.table/1", "images": images_count, "rows": table_rows, "differences": differences, "protocol": protocol}
    arrays = {name: {key: value.numpy() for key, value in group.items()} for name, group in saved.items()}
    memory = {"peak_cuda_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {"peak_process_bytes": _rss()}
    cost = {"device": str(device), "threads": torch.get_num_threads(), **memory, "rows": cost_rows}
    return Evaluation(table, cost, {"masks_sha256": masks.hexdigest(), "images": images_count}, per_image, arrays, shown)


def _ask(method: Reconstructor, measurement: Measurement, keys: Keys, samples: int) -> None:
    if {"mean", "point"} & set(method.readouts):
        method.mean(measurement)
    if "sample" in method.readouts:
        method.sample(measurement, keys, samples)


def _reconstruct(
    rows: Sequence[_Row], truth: Tensor, measurement: Measurement, seed: int, ids: Sequence[int], samples: int
) -> list[Outcome]:
    """Every row's outcome on one batch; adds to each row's seconds."""
    outcomes: list[Outcome] = []
    means: dict[str, Tensor] = {}
    for row in rows:
        method = row.reconstructor
        synchronise(truth.device)
        start = time.perf_counter()
        if row.readout == "sample":
            drawn = method.sample(measurement, Keys.of(seed, f"eval/sample/{method.name}", ids, truth.device), samples)
            outcome = Outcome(truth, measurement, "sample", drawn[0], drawn, means.get(method.name))
        else:
            means[method.name] = method.mean(measurement)
            outcome = Outcome(truth, measurement, row.readout, means[method.name])
        synchronise(truth.device)
        row.seconds += time.perf_counter() - start
        outcomes.append(outcome)
    return outcomes


def _digest(masks: Any, measurement: Measurement) -> None:
    """Add a batch's masks to the hash (of other operators, the shape of what they measure)."""
    if measurement.observed is None:
        masks.update(repr(tuple(measurement.y.shape[1:])).encode() * len(measurement))
    else:
        for observed in measurement.observed.cpu().numpy():
            masks.update(np.packbits(observed).tobytes())


def _keep(rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Tensor]]:
    """The first pictures' reconstructions, to be saved."""
    first = slice(KEPT_PICTURES)
    truth, measurement = outcomes[0].truth, outcomes[0].measurement
    kept: dict[str, dict[str, Tensor]] = {"truth": {"truth": truth[first].cpu(), "y": measurement.y[first].cpu()}}
    if measurement.observed is not None:
        kept["truth"]["observed"] = measurement.observed[first].cpu()
    for row, outcome in zip(rows, outcomes, strict=True):
        group = kept.setdefault(row.reconstructor.name, {})
        if outcome.samples is None:
            group[row.readout] = outcome.estimate[first].float().cpu()
        else:
            group["samples"] = outcome.samples[:KEPT_SAMPLES, first].float().cpu()
    return kept


def _show(rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> Shown:
    first = slice(SHOWN_PICTURES)
    means, samples = {}, {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome.samples is None:
            means[row.reconstructor.name] = outcome.measurement.paste(outcome.estimate)[first].cpu()
        else:
            samples[row.reconstructor.name] = outcome.measurement.paste(outcome.samples)[:, first].cpu()
    return Shown(outcomes[0].truth[first].cpu(), outcomes[0].measurement[first].to("cpu"), means, samples)


def _values(row: _Row, metric: Metric, bootstrap: Bootstrap) -> NDArray[np.float64] | None:
    components = row.of(metric)
    return None if components is None else bootstrap.values(metric, components)


def _head(row: _Row, run: str) -> dict[str, Any]:
    return {"run": run, "method": row.reconstructor.name, "readout": row.readout, "grid": list(row.grid.shape)}


def _table_row(
    row: _Row,
    metrics: Sequence[Metric],
    values: Mapping[str, NDArray[np.float64] | None],
    bootstrap: Bootstrap,
    run: str,
    degradation: str,
) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name in map(metric_name, metrics):
        found = values[name]
        if found is None or not math.isfinite(found[0]):
            cells[name] = {"value": None, "lo": None, "hi": None, "reason": row.reasons.get(name, "not defined for these pictures")}
        else:
            low, high = bootstrap.interval(found)
            cells[name] = {"value": _round(found[0]), "lo": _round(low), "hi": _round(high)}
    head = _head(row, run)
    order = {"run": run, "degradation": degradation, **{k: head[k] for k in ("method", "readout", "grid")}}
    return {**order, "nfe": row.reconstructor.nfe(row.readout), "samples": row.samples, "metrics": cells}


def _differences(
    row: _Row,
    rows: Sequence[_Row],
    settings: Eval,
    values: Mapping[int, Mapping[str, NDArray[np.float64] | None]],
    bootstrap: Bootstrap,
    run: str,
) -> list[dict[str, Any]]:
    """Paired differences to the chosen method's row of the same readout, on the same resamples."""
    wanted = "mean" if row.readout == "point" else row.readout
    against = [r for r in rows if r.reconstructor.name == settings.paired_to and r.readout in (row.readout, wanted)]
    if not against or against[0] is row:
        return []
    out = []
    for name in map(metric_name, settings.metrics):
        mine, theirs = values[id(row)][name], values[id(against[0])][name]
        if mine is not None and theirs is not None and math.isfinite(mine[0] - theirs[0]):
            low, high = bootstrap.interval(mine - theirs)
            value = {"value": _round(mine[0] - theirs[0]), "lo": _round(low), "hi": _round(high)}
            out.append({**_head(row, run), "against": settings.paired_to, "metric": name, **value})
    return out


def _cost_row(row: _Row, images: int, run: str) -> dict[str, Any]:
    each = row.seconds / images / max(row.samples, 1)
    what = "seconds_per_sample" if row.readout == "sample" else "seconds_per_picture"
    return {**_head(row, run), "nfe": row.reconstructor.nfe(row.readout), "samples": row.samples, what: float(f"{each:.3g}")}


def _per_image(row: _Row, metrics: Sequence[Metric], pictures: Images, count: int, run: str) -> list[dict[str, Any]]:
    """Every metric of every picture by itself (ratios of one picture are noisy; the table pools them)."""
    columns = {}
    for metric in metrics:
        components = row.of(metric)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns[metric_name(metric)] = [None] * count if components is None else metric.reduce(components).tolist()
    head = {**_head(row, run), "grid": str(row.grid)}
    return [
        {**head, "image": i, "group": pictures.group(i), **{name: _round(column[i]) for name, column in columns.items()}}
        for i in range(count)
    ]


def _round(value: float | None) -> float | None:
    """Six significant digits: what the table holds does not depend on the last bits of a sum."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _rss() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def flat_rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table with a column for every metric's value and bounds."""
    out = []
    for row in table["rows"]:
        flat = {key: value for key, value in row.items() if key != "metrics"}
        flat["grid"] = "x".join(map(str, row["grid"]))
        for name, cell in row["metrics"].items():
            flat |= {name: cell["value"], f"{name}_lo": cell["lo"], f"{name}_hi": cell["hi"]}
        out.append(flat)
    return out


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
