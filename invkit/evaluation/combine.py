"""Combines evaluations into one table: of several degradations of a run, or of several runs."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.evaluator import Evaluation
from invkit.evaluation.table import LISTS, SCHEMA, Table, cell

PerImage = Sequence[Mapping[str, str]]  # rows of per_image.csv


def merge_runs(tables: Sequence[Table], per_image: Sequence[PerImage] = ()) -> dict[str, Any]:
    """Combine the tables of several runs; `protocol` becomes a list, and `images` the smallest number of images.

    `notes` list the differences between the protocols. With `per_image` of each run, they also state the paired
    differences from the first run, for runs with the same measurements; without, as with `--from-saved`, that there are none.
    """
    if len(tables) == 1:
        return dict(tables[0])
    first = tables[0]
    notes = [f"{_run(table)}: {note}" for table in tables for note in table.get("notes", ())]
    for i, table in enumerate(tables[1:], 1):
        notes += _protocol_differences(first, table)
        if _same_measurements(first, table):
            if per_image:
                notes += _metric_differences(first, table, per_image[0], per_image[i])
            else:
                notes.append("no paired differences between runs with --from-saved")
    return {
        "schema": SCHEMA,
        "images": min(table["images"] for table in tables),
        **{key: [entry for table in tables for entry in table.get(key, ())] for key in LISTS},
        "protocol": [table["protocol"] for table in tables],
        "notes": notes,
    }


def per_image(folder: Path) -> PerImage:
    """The metrics of each image, read from an evaluation's folder; empty if they cannot be read."""
    try:
        with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return ()


def _run(table: Table) -> str:
    return table["rows"][0]["run"]


def _same_measurements(first: Table, other: Table) -> bool:
    """Whether both tables are based on the same measurements of the same number of images."""
    mine, theirs = (table["protocol"].get("masks_sha256") for table in (first, other))
    same = all(first["protocol"].get(key) == other["protocol"].get(key) for key in ("images", "noise", "seed"))
    return mine is not None and mine == theirs and same


def _protocol_differences(first: Table, other: Table) -> Iterator[str]:
    """Describe the differences between two protocols."""
    names = f"{_run(first)} and {_run(other)}"
    if not _same_measurements(first, other):
        yield f"{names} have different measurements: their rows are not paired"
    for key in ("images", "samples", "noise", "seed"):
        mine, theirs = first["protocol"].get(key), other["protocol"].get(key)
        if mine != theirs:
            yield f"{names} differ in {key}: {mine} and {theirs}"


def _metric_differences(first: Table, other: Table, mine: PerImage, theirs: PerImage) -> Iterator[str]:
    """For each common row, describe the mean difference, second minus first, and its paired 95 % interval.

    Rows that are equal in every image are left out.
    """

    def by_row(lines: PerImage) -> dict[tuple[str, ...], list[Mapping[str, str]]]:
        found: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
        for line in lines:
            key = tuple(line[name] for name in ("degradation", "method", "readout", "grid"))
            found.setdefault(key, []).append(line)
        return found

    ours, others = by_row(mine), by_row(theirs)
    for key in [key for key in ours if key in others]:
        differences, changed = [], False
        pairs = list(zip(ours[key], others[key], strict=True))
        if any((a["image"], a["group"]) != (b["image"], b["group"]) for a, b in pairs):
            yield f"{_run(first)} and {_run(other)} have different images: their rows are not paired"
            return
        bootstrap = Bootstrap.of([a["group"] for a, _ in pairs], first["protocol"]["seed"])
        for name in ("psnr", "ssim", "crps"):
            if not all(a.get(name) and b.get(name) for a, b in pairs):
                continue
            difference = np.array([float(b[name]) - float(a[name]) for a, b in pairs])
            values, changed = bootstrap.mean(difference), changed or bool(difference.any())
            lo, hi = bootstrap.interval(values)
            differences.append(f"{name} {cell({'value': float(values[0]), 'lo': lo, 'hi': hi})}")
        if changed:
            row = f"{' '.join(key[1:3])}{_qualifier(key, ours)}"
            yield f"{_run(other)} minus {_run(first)}, {row}: {', '.join(differences)} (paired)"


def _qualifier(key: tuple[str, ...], keys: Mapping[tuple[str, ...], Any]) -> str:
    """The degradation and grid of a row in brackets, each only if `keys` contains several."""
    named = [key[i] for i in (0, 3) if len({other[i] for other in keys}) > 1]
    return f" ({', '.join(named)})" if named else ""


def unique(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """The notes of several tables, each once."""
    return list(dict.fromkeys(note for table in tables for note in table.get("notes", ())))


def combine_degradations(evaluations: Mapping[str, Evaluation], degradation: Mapping[str, Any]) -> Evaluation:
    """Combine the evaluations of a run's degradations, given by name; `degradation` is that of the recipe, as plain data.

    Entries of the lists contain their degradation. If there are several, the keys of hashes and examples become
    "grid, name", and file stems end in the name.
    """
    first = next(iter(evaluations.values()))
    several = len(evaluations) > 1

    def by_name(values: Mapping[str, Mapping[str, Any]], between: str) -> dict[str, Any]:
        return {
            f"{key}{between}{name}" if several else key: value
            for name, entries in values.items()
            for key, value in entries.items()
        }

    record = by_name({name: one.record for name, one in evaluations.items()}, ", ")
    protocol = {
        **first.table["protocol"],
        "degradation": degradation,
        "masks_sha256": {key: entry["masks_sha256"] for key, entry in record.items()},
    }
    lists = {key: [entry for one in evaluations.values() for entry in one.table.get(key, ())] for key in LISTS}
    notes = {"notes": found} if (found := unique(one.table for one in evaluations.values())) else {}
    return replace(
        first,
        table={**first.table, **lists, **notes, "protocol": protocol},
        cost={**first.cost, "rows": [row for one in evaluations.values() for row in one.cost["rows"]]},
        record=record,
        per_image=[entry for one in evaluations.values() for entry in one.per_image],
        examples=by_name({name: one.examples for name, one in evaluations.items()}, ", "),
        arrays=by_name({name: one.arrays for name, one in evaluations.items()}, "-"),
        jackknife={key: values for one in evaluations.values() for key, values in one.jackknife.items()},
    )
