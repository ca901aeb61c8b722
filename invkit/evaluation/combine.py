"""Several evaluations as one table: of several operators of a run, or of several runs."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.evaluator import Evaluation
from invkit.evaluation.table import LISTS, SCHEMA, Table, cell

PerImage = Sequence[Mapping[str, str]]  # the lines of per_image.csv


def merge_runs(tables: Sequence[Table], per_image: Sequence[PerImage] = ()) -> dict[str, Any]:
    """The rows of several tables as one; `protocol` is then a list, and `images` the least number of pictures.

    `notes` say where the protocols differ, and, with the figures of every picture of each run, by how much a row of a
    run that is on the same measurements differs from that of the first run.
    """
    if len(tables) == 1:
        return dict(tables[0])
    first = tables[0]
    notes = [f"{_run(table)}: {note}" for table in tables for note in table.get("notes", ())]
    for i, table in enumerate(tables[1:], 1):
        notes += _apart(first, table)
        if per_image and _shared(first, table):
            notes += _differences(first, table, per_image[0], per_image[i])
    return {
        "schema": SCHEMA,
        "images": min(table["images"] for table in tables),
        **{key: [entry for table in tables for entry in table.get(key, ())] for key in LISTS},
        "protocol": [table["protocol"] for table in tables],
        "notes": notes,
    }


def per_image(folder: Path) -> PerImage:
    """The figures of every picture of an evaluation; none where they cannot be read."""
    try:
        with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return ()


def _run(table: Table) -> str:
    return table["rows"][0]["run"]


def _shared(first: Table, other: Table) -> bool:
    """Whether both saw the same measurements of as many pictures."""
    mine, theirs = (table["protocol"].get("masks_sha256") for table in (first, other))
    same = all(first["protocol"].get(key) == other["protocol"].get(key) for key in ("images", "noise", "seed"))
    return mine is not None and mine == theirs and same


def _apart(first: Table, other: Table) -> Iterator[str]:
    """In what the protocols differ."""
    names = f"{_run(first)} and {_run(other)}"
    if not _shared(first, other):
        yield f"{names} are not on the same measurements: their rows do not pair"
    for key in ("images", "samples", "noise", "seed"):
        mine, theirs = first["protocol"].get(key), other["protocol"].get(key)
        if mine != theirs:
            yield f"{names} differ in {key}: {mine} and {theirs}"


def _differences(first: Table, other: Table, mine: PerImage, theirs: PerImage) -> Iterator[str]:
    """Of every row that both have, what the second gained: the mean over pictures and its paired 95 % interval.

    Rows that are the same in every picture are left out.
    """

    def by_row(lines: PerImage) -> dict[tuple[str, ...], list[Mapping[str, str]]]:
        found: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
        for line in lines:
            key = tuple(line[name] for name in ("degradation", "method", "readout", "grid"))
            found.setdefault(key, []).append(line)
        return found

    ours, others = by_row(mine), by_row(theirs)
    for key in [key for key in ours if key in others]:
        said, changed = [], False
        pairs = list(zip(ours[key], others[key], strict=True))
        if any((a["image"], a["group"]) != (b["image"], b["group"]) for a, b in pairs):
            yield f"{_run(first)} and {_run(other)} are on other pictures: their rows do not pair"
            return
        bootstrap = Bootstrap.of([a["group"] for a, _ in pairs], first["protocol"]["seed"])
        for name in ("psnr", "ssim", "crps"):
            if not all(a.get(name) and b.get(name) for a, b in pairs):
                continue
            gained = np.array([float(b[name]) - float(a[name]) for a, b in pairs])
            values, changed = bootstrap.mean(gained), changed or bool(gained.any())
            lo, hi = bootstrap.interval(values)
            said.append(f"{name} {cell({'value': float(values[0]), 'lo': lo, 'hi': hi})}")
        if changed:
            yield f"{_run(other)} less {_run(first)}, {' '.join(key[1:3])}{_where(key, ours)}: {', '.join(said)} (paired)"


def _where(key: tuple[str, ...], keys: Mapping[tuple[str, ...], Any]) -> str:
    """The degradation and the grid of a row, where there are several."""
    several = [len({other[i] for other in keys}) > 1 for i in (0, 3)]
    named = [key[i] for i, shown in zip((0, 3), several, strict=True) if shown]
    return f" ({', '.join(named)})" if named else ""


def combine_degradations(found: Mapping[str, Evaluation], degradation: Mapping[str, Any]) -> Evaluation:
    """One evaluation of one run, from those of its degradations by name; `degradation` is the recipe's, as plain data.

    Rows, differences, figures of each picture and cost say which they belong to. Hashes and pictures are by grid, and
    where there are several, by grid and name; files end in the name.
    """
    first = next(iter(found.values()))
    several = len(found) > 1

    def by_name(values: Mapping[str, Mapping[str, Any]], between: str) -> dict[str, Any]:
        return {
            f"{key}{between}{name}" if several else key: value
            for name, entries in values.items()
            for key, value in entries.items()
        }

    record = by_name({name: one.record for name, one in found.items()}, ", ")
    protocol = {
        **first.table["protocol"],
        "degradation": degradation,
        "masks_sha256": {key: entry["masks_sha256"] for key, entry in record.items()},
    }
    lists = {key: [entry for one in found.values() for entry in one.table.get(key, ())] for key in LISTS}
    return replace(
        first,
        table={**first.table, **lists, "protocol": protocol},
        cost={**first.cost, "rows": [row for one in found.values() for row in one.cost["rows"]]},
        record=record,
        per_image=[entry for one in found.values() for entry in one.per_image],
        examples=by_name({name: one.examples for name, one in found.items()}, ", "),
        arrays=by_name({name: one.arrays for name, one in found.items()}, "-"),
    )
