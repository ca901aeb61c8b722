"""The evaluator: every method on the same measurements of the same images, as rows of one table."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invkit.core.distributed import ALONE, World
from invkit.core.files import write_atomic, write_json
from invkit.core.grid import Grid
from invkit.data.base import Images
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.cache import ResultCache
from invkit.evaluation.cases import Examples, examples
from invkit.evaluation.data_fit import MISFIT, misfit_note
from invkit.evaluation.loop import EvaluationLoop, GridResults
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.ranking import best
from invkit.evaluation.table import SCHEMA, to_csv
from invkit.evaluation.tabulate import Tabulator
from invkit.reconstructors import Reconstructor

JACKKNIFE = "jackknife.npz"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A metric table with its cost, per-image metrics, example images and stored reconstructions."""

    table: dict[str, Any]  # `invkit.table/1`
    cost: dict[str, Any]  # `invkit.cost/1`: seconds and memory, which differ between runs
    record: dict[str, Any]  # hash of the masks by grid
    per_image: list[dict[str, Any]]  # the metrics of each image, row by row
    examples: dict[str, Callable[[], Examples]]  # by grid; images of which nothing was kept are computed again
    arrays: dict[str, dict[str, NDArray[Any]]]  # file stem -> arrays of the first images
    jackknife: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # of `Tabulator.jackknife`

    def write_table(self, folder: Path) -> None:
        """Write `table.json`, `table.csv` and `cost.json` atomically."""
        write_json(folder / "table.json", self.table)
        write_atomic(folder / "table.csv", to_csv(self.table))
        write_json(folder / "cost.json", self.cost)

    def write(self, folder: Path) -> None:
        """Write all tables and the stored reconstructions atomically.

        All files except `cost.json` are reproducible byte for byte.
        """
        self.write_table(folder)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.per_image[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.per_image)
        write_atomic(folder / "per_image.csv", text.getvalue())
        reconstructions = folder / "reconstructions"
        stored = {reconstructions / f"{stem}.npz": arrays for stem, arrays in self.arrays.items()}
        for path, arrays in ({folder / JACKKNIFE: self.jackknife} | stored).items():
            data = io.BytesIO()
            np.savez_compressed(data, allow_pickle=False, **arrays)  # dates every entry 1980-01-01
            write_atomic(path, data.getvalue())
        for old in reconstructions.glob("*.npz"):  # of an evaluation with other methods
            if old.stem not in self.arrays:
                old.unlink()


def evaluate_rows(
    methods: Sequence[Reconstructor],
    images: Mapping[Grid, Images],
    protocol: Protocol,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    world: World = ALONE,
    cache: ResultCache | None = None,
) -> Evaluation:
    """Evaluate every estimator of every method on the same measurements of the first test images, grid by grid.

    Operators, noise and samples are keyed by image, so results do not depend on the batch size. The processes of `world`
    share the batches, and each returns the whole result. `progress(done, total)`, in images, is called after each method
    of a batch. Finished batches are stored in `cache`, and cached ones are not computed again. Raises NonFiniteError,
    and RecipeError if a method cannot handle the measurements.
    """
    count = min(protocol.settings.images, *(len(opened) for opened in images.values()))
    lists: dict[str, Any] = {key: [] for key in ("rows", "differences", "best", "calibration")}
    table = {"schema": SCHEMA, "images": count, **lists}
    cost = {"schema": "invkit.cost/1", "device": str(protocol.device), "rows": []}
    evaluation = Evaluation(table, cost, {}, [], {}, {})
    groups: dict[str, int] = {}
    for done, (grid, opened) in enumerate(images.items()):

        def report(part: int, before: int = done * count) -> None:
            progress(before + part, len(images) * count)

        loop = EvaluationLoop(methods, opened, protocol, count)
        with torch.no_grad():
            results = loop.run(report, world, cache and cache.within(f"{protocol.degradation_name}-{grid}"))
        names = [opened.group(i) for i in range(count)]
        groups[str(grid)] = len(set(names))
        _add_grid(evaluation, results, names, "" if len(images) == 1 else f"-{grid}")
    hashes = {grid: entry["masks_sha256"] for grid, entry in evaluation.record.items()}
    table["protocol"] = protocol.facts(count, groups, hashes)
    if count < protocol.settings.images:
        table.setdefault("notes", []).append(f"eval.images={protocol.settings.images}: the test split has {count}")
    return evaluation


def _add_grid(evaluation: Evaluation, results: GridResults, groups: Sequence[str], suffix: str) -> None:
    """Tabulate the results of one grid; `groups` are those of its images, `suffix` ends the names of its files."""
    protocol, grid, table = results.loop.protocol, results.loop.images.grid, evaluation.table
    evaluation.arrays.update({f"{name}{suffix}": arrays for name, arrays in results.arrays().items()})
    evaluation.examples[str(grid)] = partial(examples, results)
    evaluation.record[str(grid)] = {"masks_sha256": results.masks_sha256}
    bootstrap = Bootstrap.of(groups, protocol.seed)
    tabulator = Tabulator(results.scores, bootstrap, protocol, grid)
    named = {"run": protocol.run, "degradation": protocol.degradation_name}
    ranks = best(results.scores, tabulator.values, protocol.metrics, bootstrap)
    for row in results.scores:
        label, sums = f"{protocol.degradation_name}, {grid}: {row.method.name} {row.readout}", row.values(MISFIT)
        if sums and (note := misfit_note(label, sums)):
            table.setdefault("notes", []).append(note)
    table["rows"] += [named | row for row in tabulator.rows()]
    evaluation.jackknife.update(tabulator.jackknife(protocol.degradation_name))
    table["differences"] += [named | entry for entry in tabulator.differences()]
    table["best"] += [named | {"grid": list(grid.shape)} | entry for entry in ranks]
    table["calibration"] += [named | entry for entry in tabulator.calibration(groups)]
    evaluation.per_image.extend(named | entry for entry in tabulator.per_image(groups, results.observed_share))
    evaluation.cost["rows"].extend(named | tabulator.head(row) | row.cost() for row in results.scores)
