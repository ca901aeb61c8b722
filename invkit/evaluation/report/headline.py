"""The first table of the report: the main figures of every row, narrow enough for a phone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invkit.evaluation.report.figures import NOMINAL
from invkit.evaluation.table import Table, number, ranks, row_key

COLUMNS = {
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "crps": ("CRPS", 4),
    "spread_skill": ("spread / skill", 2),
}  # decimals
COVERAGE = "coverage error, %"


@dataclass(frozen=True)
class Cell:
    """A value, half of its 95 % interval or an empty string, and its rank: `best`, `tied` or an empty string."""

    value: str = "–"
    half: str = ""
    rank: str = ""


@dataclass(frozen=True)
class Headline:
    """Names of the columns, and by degradation and grid the name of each row with its cells."""

    head: tuple[str, ...]
    groups: dict[str, list[tuple[str, str, list[Cell]]]]


def headline(table: Table, cost: Mapping[str, Any]) -> Headline:
    """The metrics of `COLUMNS` that the table has, the error of the coverage, network calls and seconds per image."""
    rows, found = table["rows"], ranks(table)
    seconds = {_place(row): row["seconds_per_image"] for row in cost["rows"]}
    metrics = [name for name in COLUMNS if any(name in row["metrics"] for row in rows)]
    covered = any(coverage_error(row) is not None for row in rows)
    several = len({_group(row) for row in rows}) > 1
    groups: dict[str, list[tuple[str, str, list[Cell]]]] = {}
    for row in rows:
        cells = [
            _cell(row["metrics"].get(name), COLUMNS[name][1], found.get(row_key(row, name), "")) for name in metrics
        ]
        if covered:
            error = coverage_error(row)
            cells.append(Cell() if error is None else Cell(f"{100 * error:.1f}"))
        time = seconds.get(_place(row))
        cells += [Cell(str(row["nfe"])), Cell() if time is None else Cell(_short(f"{time:.2g}"))]
        groups.setdefault(_group(row) if several else "", []).append((row["method"], row["readout"], cells))
    names = [COLUMNS[name][0] for name in metrics] + [COVERAGE] * covered
    return Headline((*names, "calls", "time, s"), groups)


def coverage_error(row: Mapping[str, Any]) -> float | None:
    """The mean distance between the coverage and the nominal share, over the intervals that the row has.

    >>> coverage_error({"metrics": {"coverage_50": {"value": 0.6}, "coverage_90": {"value": 0.88}}})
    0.06
    """
    entries = [(p, row["metrics"].get(f"coverage_{p}")) for p in NOMINAL]
    errors = [abs(entry["value"] - p / 100) for p, entry in entries if entry and entry["value"] is not None]
    return round(sum(errors) / len(errors), 6) if errors else None


def _cell(entry: Mapping[str, Any] | None, decimals: int, rank: str) -> Cell:
    if entry is None or entry["value"] is None:
        return Cell()
    value, lo, hi = entry["value"], entry["lo"], entry["hi"]
    known = lo is not None and hi is not None and hi > lo
    return Cell(_short(number(value, decimals)), "±" + _short(number((hi - lo) / 2, decimals)) if known else "", rank)


def _short(text: str) -> str:
    """Without the zero before the point, as .041."""
    return text.removeprefix("0") if text.startswith("0.") else text


def _group(row: Mapping[str, Any]) -> str:
    return f"{row.get('degradation')}, {'x'.join(map(str, row['grid']))}"


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row.get("degradation"), row["method"], row["readout"], *row["grid"]
