"""The evaluator: every method on the same measurements of the same images, as rows of one table."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invkit.core.distributed import ALONE, World
from invkit.core.files import write_atomic
from invkit.core.grid import Grid
from invkit.data.base import Images
from invkit.evaluation.bootstrap import RESAMPLES, Bootstrap
from invkit.evaluation.cache import Partial
from invkit.evaluation.conformal import GUARANTEE
from invkit.evaluation.loop import Shown, Work, gather
from invkit.evaluation.metrics import Metric, by_name
from invkit.evaluation.ranking import RULE, best
from invkit.evaluation.settings import Eval
from invkit.evaluation.table import SCHEMA, to_csv
from invkit.evaluation.tabulate import Tabulator
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Noise
from invkit.reconstructors import Reconstructor


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
    metrics: Mapping[str, Metric] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    world: World = ALONE,
    shelf: Partial | None = None,
) -> Evaluation:
    """Every readout of every method on the same measurements of the first test pictures, grid by grid.

    Operators, noise and samples are keyed by picture, so the batch size changes nothing. The processes of `world` share
    the batches and all return the whole. `progress` hears about how many pictures are done, of how many, after each
    method's share of a batch. `metrics` are the columns by name; None: those of the settings, all of them the core's.
    What is gathered is kept on `shelf`, and what is there already is not gathered again. Raises NonFiniteError, or
    RecipeError where a method cannot read such measurements.
    """
    metrics = by_name(settings.metrics) if metrics is None else metrics
    count = min(settings.images, *(len(opened) for opened in images.values()))
    ids = list(range(count))
    result = Evaluation({}, {"schema": "invkit.cost/1", "device": str(device), "rows": []}, {}, [], {}, {})
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    groups: dict[str, int] = {}
    for done, (grid, opened) in enumerate(images.items()):

        def report(part: int, before: int = done * count) -> None:
            progress(before + part, len(images) * count)

        work = Work(methods, opened, degradation, noise, metrics, settings.samples, settings.kept(count), seed, device)
        place = shelf and shelf.within(f"{degradation_name}-{grid}")
        with torch.no_grad():
            found = gather(work, count, settings.batch, report, world, place)
        stem = "" if len(images) == 1 else f"-{grid}"
        result.arrays.update({f"{name}{stem}": arrays for name, arrays in found.arrays().items()})
        result.pictures[str(grid)] = found.shown(settings.paired_to)
        result.record[str(grid)] = {"masks_sha256": found.masks_sha256}
        names = [opened.group(i) for i in ids]
        groups[str(grid)] = len(set(names))
        table = Tabulator(
            found.rows, Bootstrap.of(names, seed), metrics, settings.samples, settings.paired_to, run, grid
        )
        named = {"run": run, "degradation": degradation_name}
        rows += [named | row for row in table.rows()]
        differences += [named | entry for entry in table.differences()]
        at = named | {"grid": list(grid.shape)}
        ranks += [at | entry for entry in best(found.rows, table.values, metrics, table.bootstrap)]
        calibration += [named | entry for entry in table.calibration(names, seed)]
        result.per_image.extend(named | entry for entry in table.per_image(ids, names, found.observed_share))
        result.cost["rows"].extend(named | table.head(row) | row.cost() for row in found.rows)
    result.table.update(
        {
            "schema": SCHEMA,
            "images": count,
            "rows": rows,
            "differences": differences,
            "best": ranks,
            "calibration": calibration,
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
                "better": {name: metric.better for name, metric in metrics.items()},
                "best": RULE,
                "conformal": GUARANTEE,
            },
        }
    )
    return result
