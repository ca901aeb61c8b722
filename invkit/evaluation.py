"""The evaluator: every method on the same measurements of the same pictures, as rows of one table."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from safetensors.torch import load, save
from torch import Tensor

from invkit.data.base import Images
from invkit.degradation import Degradation, Measurement, Noise, measure
from invkit.distributed import ALONE, World
from invkit.files import write_atomic
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.metrics import METRICS, Metric, Outcome, Unavailable
from invkit.metrics.base import Readout
from invkit.operators import Mask
from invkit.reconstruct import METHODS, Method, Reconstructor
from invkit.rows import Row, Tabulator
from invkit.settings import Settings
from invkit.statistics import RESAMPLES, Bootstrap
from invkit.table import SCHEMA, to_csv

SHOWN = 8  # pictures on the report's sheet
SAVED = 16  # pictures whose reconstructions are kept
SAVED_SAMPLES = 4  # of each of them


class Eval(Settings):
    """How the table is made."""

    images: int = Field(128, ge=1, description="test pictures, the first of the split")
    samples: int = Field(
        19, ge=1, description="posterior samples of each picture; 19 give 50, 80 and 90 % intervals, 39 also 95 %"
    )
    methods: tuple[Method, ...] = Field(
        tuple(METHODS[name]() for name in ("nearest", "gaussian", "model")),
        min_length=1,
        description="rows, in this order",
    )
    metrics: tuple[Metric, ...] = Field(
        tuple(metric() for metric in METRICS.values()), min_length=1, description="columns, in this order"
    )
    grids: tuple[int | tuple[int, int], ...] | None = Field(
        None, min_length=1, description="grids to evaluate on: n or [height, width]; null: those of train.grids"
    )
    checkpoint: Literal["last", "best"] = Field(
        "last",
        description="weights that are evaluated; best: by CRPS on the pictures that train.evaluate_every holds out",
    )
    batch: int = Field(16, ge=1, description="pictures at a time; the table does not depend on it")
    paired_to: str = Field(
        "gaussian", description="method that the others are compared with, where it is among the rows"
    )

    @field_validator("methods", "metrics")
    @classmethod
    def _once(cls, chosen: tuple[Settings, ...]) -> tuple[Settings, ...]:
        if len({type(item) for item in chosen}) < len(chosen):
            raise ValueError("should name each only once")
        return chosen

    @field_validator("paired_to")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"should be one of {', '.join(METHODS)}")
        return name


@dataclass(frozen=True, eq=False)
class Shown:
    """The first pictures of a grid as the report shows them: all on the CPU, in [-1, 1] units, pasted."""

    method: str  # whose mean, samples and deviation these are
    measurement: Measurement
    truth: Tensor  # (B, C, H, W)
    fill: Tensor | None  # (B, C, H, W): the paired method's mean
    mean: Tensor | None  # (B, C, H, W)
    samples: Tensor | None  # (2, B, C, H, W)
    deviation: Tensor | None  # (B, C, H, W): over all K samples


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A table and everything that was seen on the way to it."""

    table: dict[str, Any]  # `invkit.table/1`
    cost: dict[str, Any]  # `invkit.cost/1`: seconds and memory, which are never twice the same
    record: dict[str, Any]  # the masks' hash of every grid
    per_image: list[dict[str, Any]]  # each row's metrics of each picture
    pictures: dict[str, Shown]  # by grid
    arrays: dict[str, dict[str, NDArray[Any]]]  # file stem -> arrays of the first pictures

    def write(self, folder: Path) -> None:
        """Write the table, its parts and the first reconstructions; each file is whole or not there.

        All but `cost.json` are the same bytes each time.
        """
        write_atomic(folder / "table.json", _dump(self.table))
        write_atomic(folder / "table.csv", to_csv(self.table))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.per_image[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.per_image)
        write_atomic(folder / "per_image.csv", text.getvalue())
        write_atomic(folder / "cost.json", _dump(self.cost))
        reconstructions = folder / "reconstructions"
        for stem, arrays in self.arrays.items():
            data = io.BytesIO()
            np.savez_compressed(data, allow_pickle=False, **arrays)  # dates every entry 1980-01-01
            write_atomic(reconstructions / f"{stem}.npz", data.getvalue())
        for old in reconstructions.glob("*.npz"):  # of an evaluation with other methods
            if old.stem not in self.arrays:
                old.unlink()


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


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
    world: World = ALONE,
) -> Evaluation:
    """Every readout of every method on the same measurements of the first test pictures, grid by grid.

    Operators, noise and samples are keyed by picture, so the batch size changes nothing. The processes of `world` share
    the batches and all return the whole. `progress` hears about how many pictures are done, of how many, after each
    method's share of a batch. Raises NonFiniteError, or RecipeError where a method cannot read such measurements.
    """
    count = min(settings.images, *(len(opened) for opened in images.values()))
    ids = list(range(count))
    result = Evaluation({}, {"schema": "invkit.cost/1", "device": str(device), "rows": []}, {}, [], {}, {})
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    groups: dict[str, int] = {}
    for done, (grid, opened) in enumerate(images.items()):
        gatherer = _Gatherer(methods, opened, degradation, noise, settings, seed, device)

        def report(part: int, before: int = done * count) -> None:
            progress(before + part, len(images) * count)

        with torch.no_grad():
            gatherer.run(ids, report, world)
        stem = "" if len(images) == 1 else f"-{grid}"
        result.arrays.update({f"{name}{stem}": arrays for name, arrays in gatherer.arrays().items()})
        result.pictures[str(grid)] = gatherer.shown(settings.paired_to)
        result.record[str(grid)] = {"masks_sha256": hashlib.sha256(gatherer.masks).hexdigest()}
        names = [opened.group(i) for i in ids]
        groups[str(grid)] = len(set(names))
        table = Tabulator(
            gatherer.rows, Bootstrap.of(names, seed), settings.metrics, settings.samples, settings.paired_to, run, grid
        )
        named = {"run": run, "degradation": degradation_name}
        rows += [named | row for row in table.rows()]
        differences += [named | entry for entry in table.differences()]
        result.per_image.extend(named | entry for entry in table.per_image(ids, names))
        result.cost["rows"].extend(named | table.head(row) | row.cost() for row in gatherer.rows)
    result.table.update(
        {
            "schema": SCHEMA,
            "images": count,
            "rows": rows,
            "differences": differences,
            "protocol": {
                "images": count,
                "samples": settings.samples,
                "seed": seed,
                "degradation": {"name": degradation_name, **degradation.model_dump(mode="json", serialize_as_any=True)},
                "noise": noise.sigma,
                "masks_sha256": {grid: entry["masks_sha256"] for grid, entry in result.record.items()},
                "interval": f"95 % percentile bootstrap of {RESAMPLES} resamples, whole groups (photographs) drawn",
                "groups": groups,
                "paired_to": settings.paired_to,
            },
        }
    )
    return result


class _Gatherer:
    """Runs the methods on one grid and keeps what the table and the pictures need."""

    def __init__(
        self, methods: Sequence[Reconstructor], images: Images, degradation: Degradation, noise: Noise, settings: Eval,
        seed: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.images, self.degradation, self.noise, self.settings = images, degradation, noise, settings
        self.seed, self.device = seed, device
        self.rows = [Row(method, cast(Readout, readout)) for method in methods for readout in method.readouts]
        self.masks = bytearray()  # one bit a pixel
        self.kept: dict[str, dict[str, list[Tensor]]] = {"truth": {}}  # of the first pictures

    def measure(self, ids: Sequence[int]) -> tuple[Tensor, Measurement]:
        """The truth (B, C, H, W) of some test pictures, and what is seen of it."""
        x = self.images[ids].to(self.device)
        operator = self.degradation.sample(Keys.of(self.seed, "eval/operator", ids, self.device), self.images.grid)
        return x, measure(operator, x, self.noise, Keys.of(self.seed, "eval/noise", ids, self.device))

    def run(self, ids: Sequence[int], progress: Callable[[int], None], world: World) -> None:
        """Run all methods; whole batches are shared, so that every figure is the same bits for any number of processes."""
        batches = world.share(range(0, len(ids), self.settings.batch))

        def report(reached: int) -> None:
            progress(min(len(ids), (reached - batches.start) * world.size))

        for first in batches:
            part = ids[first : first + self.settings.batch]
            truth, measurement = self.measure(part)
            self._hash(measurement)
            room = max(0, SAVED - first)
            self._keep("truth", room, truth=truth, y=measurement.y)
            if measurement.observed is not None:
                self._keep("truth", room, observed=measurement.observed)
            mean: Tensor | None = None
            for row in self.rows:
                last = row.readout == row.method.readouts[-1]
                try:
                    if row.readout == "sample":
                        outcome = self._sample(row, truth, measurement, part, mean)
                        assert outcome.samples is not None
                        samples = outcome.samples[:SAVED_SAMPLES]
                        if room:  # two passes over the samples: not for pictures that nobody sees
                            self._keep(
                                row.method.name,
                                room,
                                deviation=outcome.samples.std(0, correction=len(outcome.samples) > 1),
                            )
                        self._keep(row.method.name, room, samples=measurement.paste(samples).transpose(0, 1))
                    else:
                        mean = row.measured(self.device, partial(row.method.mean, measurement), part)
                        outcome = Outcome(truth, measurement, row.readout, mean)
                        self._keep(row.method.name, room, mean=measurement.paste(mean))
                    row.add(outcome, self.settings.metrics)
                except Unavailable as why:
                    row.refuse(str(why), self.settings.metrics)
                if last:
                    mean = None  # the next method's samples have a mean of their own, or none
                    report(first)
            report(first + len(part))
        self._exchange(world)

    def _exchange(self, world: World) -> None:
        """Put together what all processes gathered, in the order of the pictures."""
        if world.size == 1:
            return
        kept = {f"{name}/{key}": t.contiguous() for name in self.kept for key, t in self._kept(name).items()}
        facts = {"masks": self.masks.hex(), "rows": [row.facts() for row in self.rows], "kept": list(kept)}
        parts = zip(world.gather(json.dumps(facts).encode()), world.gather(save(kept)), strict=True)
        self.masks, self.kept = bytearray(), {"truth": {}}
        self.rows = [Row(row.method, row.readout) for row in self.rows]
        for data, saved in parts:
            facts, kept = json.loads(data), load(saved)
            self.masks += bytes.fromhex(facts["masks"])
            for row, gathered in zip(self.rows, facts["rows"], strict=True):
                row.extend(gathered)
            for path in facts["kept"]:  # in the order in which one process would have met them
                name, _, key = path.rpartition("/")
                self.kept.setdefault(name, {}).setdefault(key, []).append(kept[path])

    def _sample(
        self, row: Row, truth: Tensor, measurement: Measurement, ids: Sequence[int], mean: Tensor | None
    ) -> Outcome:
        keys = Keys.of(self.seed, f"eval/sample/{row.method.name}", ids, self.device)
        samples = row.measured(self.device, lambda: row.method.sample(measurement, keys, self.settings.samples), ids)
        return Outcome(truth, measurement, "sample", samples[0], samples, mean)

    def _hash(self, measurement: Measurement) -> None:
        """One picture after the other, so that the batch cut leaves no trace; where there is no mask, y's shape."""
        if not isinstance(measurement.operator, Mask):
            self.masks += repr(tuple(measurement.operator.range_shape)).encode() * len(measurement)
            return
        for observed in measurement.operator.observed.cpu().numpy():
            self.masks += np.packbits(observed).tobytes()

    def _keep(self, name: str, room: int, **tensors: Tensor) -> None:
        """Keep some tensors of the first `room` pictures, the batch first."""
        if room:
            for key, tensor in tensors.items():
                self.kept.setdefault(name, {}).setdefault(key, []).append(tensor[:room].cpu())

    def _kept(self, name: str) -> dict[str, Tensor]:
        return {key: torch.cat(parts) for key, parts in self.kept.get(name, {}).items()}

    def arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """By file, what is saved: float32 in [-1, 1] units, and the mask; samples are (K, B, C, H, W)."""
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name in self.kept:
            tensors = self._kept(name)
            if "samples" in tensors:
                tensors["samples"] = tensors["samples"].transpose(0, 1)
            tensors.pop("deviation", None)
            found[name] = {
                key: np.ascontiguousarray(t.numpy() if t.dtype == torch.bool else t.float().numpy())
                for key, t in tensors.items()
            }
        return found

    def shown(self, paired_to: str) -> Shown:
        """The sheet of the last method that samples, else of the last one."""
        sampling = [row.method.name for row in self.rows if row.readout == "sample" and row.method.name in self.kept]
        method = (sampling or [self.rows[-1].method.name])[-1]
        tensors = {key: value[:SHOWN] for key, value in self._kept(method).items()}
        truth = self._kept("truth")["truth"][:SHOWN]
        _, measurement = self.measure(list(range(len(truth))))
        fill = self._kept(paired_to).get("mean")
        samples = tensors.get("samples")
        return Shown(
            method, measurement.to("cpu"), truth, None if fill is None else fill[:SHOWN], tensors.get("mean"),
            None if samples is None else samples.transpose(0, 1)[:2], tensors.get("deviation"),
        )  # fmt: skip


__all__ = ["METHODS", "Eval", "Evaluation", "Method", "Shown", "evaluate_rows"]
