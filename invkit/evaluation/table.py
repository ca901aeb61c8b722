"""Renders the metric table as plain text, CSV, markdown, HTML or JSON."""

import csv
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from invkit.core.errors import RecipeError, suggest
from invkit.evaluation.bootstrap import CONFIDENCE, LEAST

SCHEMA = "invkit.table/1"
LISTS = ("rows", "differences", "best", "calibration")  # lists whose entries contain their run and degradation
FORMATS = ("table", "json", "csv", "md", "html")
_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SUPERSCRIPT = str.maketrans("0123456789", _DIGITS)
_ASYMMETRIC = ", [ ] if it is asymmetric"
_STYLE = """table{border-collapse:collapse;font:14px system-ui,sans-serif;margin:1em 0}
td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}"""

# Format of a cell by its rank: signs in text, bold and italic in markdown and HTML.
_TEXT_RANKS = {"best": "{} ●", "tied": "{} ○", "": "{}"}
_MARKDOWN_RANKS = {"best": "**{}**", "tied": "*{}*", "": "{}"}
_HTML_RANKS = {"best": "<strong>{}</strong>", "tied": "<em>{}</em>", "": "{}"}
_RANK_NOTE = (
    f"{{}}: best; {{}}: not told from it, a set that contains the best row with a confidence of {CONFIDENCE:.0%} (points and "
    "means are compared with each other, samples with samples, within a run)"
)

Table = Mapping[str, Any]
Key = tuple[str, str, str, str, tuple[int, ...], str]


@dataclass(frozen=True)
class Layout:
    """The table as strings: column names, cells, and notes below the table."""

    head: tuple[str, ...]
    fixed: int  # number of leading columns that identify a row
    rows: tuple[tuple[str, ...], ...]
    ranks: tuple[tuple[str, ...], ...]  # of each cell: "best", "tied" or ""
    notes: tuple[str, ...]

    def map(self, change: Callable[[str], str]) -> "Layout":
        """Apply `change` to every string except the ranks."""
        rows = tuple(tuple(map(change, row)) for row in self.rows)
        return replace(self, head=tuple(map(change, self.head)), rows=rows, notes=tuple(map(change, self.notes)))

    def with_ranks(self, formats: Mapping[str, str], best: str, tied: str) -> "Layout":
        """Apply `formats` to the cells by rank, and add a note that explains the markers `best` and `tied`."""
        if not any(map(any, self.ranks)):
            return self
        rows = [
            tuple(formats[rank].format(text) for text, rank in zip(*pair, strict=True))
            for pair in zip(self.rows, self.ranks, strict=True)
        ]
        return replace(self, rows=tuple(rows), notes=(*self.notes, _RANK_NOTE.format(best, tied)))


def render(table: Table, fmt: str = "table", width: int = 100, brief: bool = False) -> str:
    """Render the table as `table` (text, at most `width` columns if possible), `json`, `csv`, `md` or `html`.

    A `brief` text has the first metrics only, as many as fit beside each other, and a legend of three lines.
    """
    if fmt == "json":
        return json.dumps(table, indent=1, allow_nan=False) + "\n"
    if fmt == "csv":
        return to_csv(table)
    layout = lay_out(table)
    if fmt == "md":
        return _markdown(layout)
    if fmt == "html":
        return f'<!doctype html>\n<meta charset="utf-8">\n<style>{_STYLE}</style>\n{fragment(layout)}'
    if fmt == "table":
        return _text((brief and _brief(table, width)) or layout, width)
    raise ValueError(f"unknown table format {fmt}; choose from {', '.join(FORMATS)}")


def to_csv(table: Table) -> str:
    """CSV with one line per value: row, metric, value, interval, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named, between = ["run", "degradation", "method", "readout"], ["sd"] if "seeds" in table else []
    writer.writerow([*named, "grid", "nfe", "samples", "metric", "value", "lo", "hi", *between, "reason"])
    for row in table["rows"]:
        first = [*(row[key] for key in named), "x".join(map(str, row["grid"])), row["nfe"], row["samples"]]
        for name, entry in row["metrics"].items():
            numbers = [entry.get(key) for key in ("value", "lo", "hi", *between)]
            writer.writerow([*first, name, *numbers, entry.get("reason", "")])
    return text.getvalue()


def number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def cell(entry: Mapping[str, Any]) -> str:
    """A value with its interval: `21.04 ±0.31`, or `21.04 [20.50, 21.20]` if the interval is asymmetric."""
    value, lo, hi = entry["value"], entry["lo"], entry["hi"]
    if lo is None or hi is None or hi <= lo:
        return f"{value:.4g}"
    half = (hi - lo) / 2
    decimals = next((d for d in range(7) if half * 10**d >= 9.5), 6)  # two significant digits of the half-width
    if abs(hi + lo - 2 * value) > 0.25 * (hi - lo):
        return f"{number(value, decimals)} [{number(lo, decimals)}, {number(hi, decimals)}]"
    return f"{number(value, decimals)} ±{number(half, decimals)}"


def _between(entry: Mapping[str, Any]) -> str:
    """The standard deviation between seeds, ` (0.12)`, in a joint table."""
    return f" ({entry['sd']:.2g})" if entry.get("sd") else ""


def directions(table: Table) -> dict[str, str | None]:
    """The better direction of each metric: `higher`, `lower`, or None if there is an optimal value or no preference."""
    protocols = table["protocol"] if isinstance(table["protocol"], list) else [table["protocol"]]
    return {name: better for protocol in protocols for name, better in protocol.get("better", {}).items()}


def mark(entry: Mapping[str, Any], better: str | None) -> str:
    """▲ better, ▼ worse or * different if a paired difference is told from 0, else an empty string.

    By its adjusted p-value; in a table of an earlier version, by its interval.
    """
    value, lo, hi = entry["value"], entry["lo"], entry["hi"]
    if value is None or lo is None or hi is None:
        return ""
    p = entry.get("p", 1 if lo <= 0 <= hi else 0)
    if p is None or p > 1 - CONFIDENCE or value == 0:
        return ""
    if better is None:
        return "*"
    return "▲" if (value > 0) == (better == "higher") else "▼"


def check_names(columns: Sequence[str], names: Sequence[str]) -> None:
    """Raises RecipeError for a column that is not among the names of a table's metrics."""
    for column in columns:
        if column not in names:
            raise RecipeError(
                f"--columns: no metric {column!r} in the table{suggest(column, names)}; it has {', '.join(names)}"
            )


def select(table: Table, metrics: Sequence[str]) -> dict[str, Any]:
    """The table with only these metrics, in this order. Raises RecipeError for a metric that it does not have."""
    names = list(dict.fromkeys(name for row in table["rows"] for name in row["metrics"]))
    check_names(metrics, names)
    rows = [
        {**row, "metrics": {name: row["metrics"][name] for name in metrics if name in row["metrics"]}}
        for row in table["rows"]
    ]
    kept = {key: [one for one in table.get(key, ()) if one["metric"] in metrics] for key in ("differences", "best")}
    return {**table, **kept, "rows": rows}


def lay_out(table: Table) -> Layout:
    """Lay out rows, metric columns, marks and footnotes; constant run, degradation and grid columns are left out."""
    rows = table["rows"]
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    names: dict[str, list[str]] = {
        "run": [row["run"] for row in rows],
        "degradation": [row["degradation"] for row in rows],
        "grid": ["x".join(map(str, row["grid"])) for row in rows],
    }
    names = {key: values for key, values in names.items() if len(set(values)) > 1}
    names["method"] = [f"{row['method']} {row['readout']}" for row in rows]
    names["calls"] = [str(row["nfe"]) for row in rows]
    only = {"degradation": rows[0]["degradation"]}  # for tables whose differences do not contain it
    better = directions(table)
    marks = {
        row_key({**only, **entry}, entry["metric"]): mark(entry, better.get(entry["metric"]))
        for entry in table.get("differences", ())
    }
    rank_of = ranks(table)
    reasons: dict[str, int] = {}
    body, ranked = [], []
    for i, row in enumerate(rows):
        cells = [values[i] for values in names.values()]
        ranked.append((*[""] * len(cells), *(rank_of.get(row_key(row, name), "") for name in metrics)))
        for name in metrics:
            entry = row["metrics"].get(name)
            if entry is None:
                cells.append("")
            elif entry["value"] is None:
                foot = reasons.setdefault(entry["reason"], len(reasons) + 1)
                cells.append("–" + str(foot).translate(_SUPERSCRIPT))
            else:
                cells.append(f"{cell(entry)}{_between(entry)} {marks.get(row_key(row, name), '')}".rstrip())
        body.append(tuple(cells))
    notes = [_counts(table)]
    if any(marks.values()):
        against = ", ".join(dict.fromkeys(entry["against"].split()[0] for entry in table["differences"]))
        notes.append(f"▲ better, ▼ worse, * different from {against}{_family(table)}")
    notes += table.get("notes", ())
    notes += [f"{str(foot).translate(_SUPERSCRIPT)} {reason}" for reason, foot in reasons.items()]
    return Layout((*names, *metrics), len(names), tuple(body), tuple(ranked), tuple(notes))


def _counts(table: Table) -> str:
    """The note that states the number of images and groups, and what the interval in a cell is or why there is none."""
    protocols = table["protocol"] if isinstance(table["protocol"], list) else [table["protocol"]]
    groups = sorted({count for protocol in protocols for count in protocol.get("groups", {}).values()})
    counted = f"{table['images']} test images"
    if groups:
        counted += f" in {' to '.join(map(str, dict.fromkeys((groups[0], groups[-1]))))} independent groups"
    shown = [f"± half of the 95 % interval{_ASYMMETRIC}"] if not groups or groups[-1] >= LEAST else []
    if groups and groups[0] < LEAST:
        shown.append(f"no intervals and no marks with fewer than {LEAST} groups")
    return "; ".join((counted, *shown))


def _family(table: Table) -> str:
    """The rule of the marks, with the number of comparisons that it accounts for."""
    entries = table["differences"]
    if any("p" not in entry for entry in entries):
        return ": the interval of the paired difference excludes 0"
    counts = sorted({entry["tests"] for entry in entries})
    each = " of each grid" * (len({(entry["run"], entry.get("degradation"), *entry["grid"]) for entry in entries}) > 1)
    number = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return f", with a simultaneous confidence of {CONFIDENCE:.0%} for all {number} paired differences{each}"


def ranks(table: Table) -> dict[Key, str]:
    """The rank of each ranked cell: "best" or "tied"."""
    found = {}
    for entry in table.get("best", ()):
        for row in entry["alike"]:
            found[row_key({**entry, **row}, entry["metric"])] = "tied"
        found[row_key({**entry, **entry["best"]}, entry["metric"])] = "best"
    return found


def row_key(row: Mapping[str, Any], metric: str) -> Key:
    return row["run"], row["degradation"], row["method"], row["readout"], tuple(row["grid"]), metric


def _widths(layout: Layout) -> list[int]:
    return [max(len(row[i]) for row in (layout.head, *layout.rows)) + 3 for i in range(len(layout.head))]


def _parts(layout: Layout, width: int) -> list[list[int]]:
    """The metric columns, in parts that fit beside the columns that identify a row."""
    widths, parts = _widths(layout), list[list[int]]()
    room = width - sum(widths[: layout.fixed])
    for i in range(layout.fixed, len(layout.head)):
        if not parts or sum(widths[j] for j in parts[-1]) + widths[i] > room:
            parts.append([])
        parts[-1].append(i)
    return parts


def _brief(table: Table, width: int) -> Layout | None:
    """The table with as many metrics as fit into `width`, and short notes; None if all fit."""
    layout = lay_out(table)
    first, *rest = _parts(layout.with_ranks(_TEXT_RANKS, "", ""), width)
    if not rest:
        return None
    chosen = select(table, [layout.head[i] for i in first])
    layout = lay_out(chosen).with_ranks(_TEXT_RANKS, "", "")
    cells, reasons = " ".join(sum(layout.rows, ())), [note for note in layout.notes if note[0] in _DIGITS]
    notes = [_counts(table) if "[" in cells else _counts(table).replace(_ASYMMETRIC, "")]
    if any(sign in cells for sign in "▲▼*●"):
        against = ", ".join(dict.fromkeys(entry["against"].split()[0] for entry in chosen["differences"]))
        signs = f"▲ better, ▼ worse, * other than {against}; " if against else ""
        notes.append(f"{signs}● best, ○ not told from it (95 %)")
    more = f"{sum(map(len, rest))} more metrics and all notes: invkit eval RUN --wide"
    notes += ["; ".join((*reasons, more)), *table.get("notes", ())]
    return replace(layout, ranks=(), notes=tuple(notes))


def _text(layout: Layout, width: int) -> str:
    """Plain text by rich, split into several tables if `width` requires it."""
    layout = layout.with_ranks(_TEXT_RANKS, "●", "○")
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    widths, parts = _widths(layout), _parts(layout, width)
    widest = max(sum(widths[: layout.fixed]) + sum(widths[i] for i in part) for part in parts)
    text = io.StringIO()
    console = Console(
        file=text, width=max(width, widest), color_system=None, highlight=False, emoji=False, markup=False
    )
    for part in parts:
        chosen = [*range(layout.fixed), *part]
        grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        for i in chosen:
            grid.add_column(layout.head[i], no_wrap=True)
        for row in layout.rows:
            grid.add_row(*(row[i] for i in chosen))
        console.print(grid)
        console.print()
    for note in layout.notes:
        console.print(note, soft_wrap=False)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _markdown(layout: Layout) -> str:
    def escaped(text: str) -> str:
        return text.replace("|", "\\|").replace("*", "\\*")

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |\n"

    layout = layout.map(escaped).with_ranks(_MARKDOWN_RANKS, "bold", "italic")
    rule = "|" + "|".join(" :-- " if i < layout.fixed else " --: " for i in range(len(layout.head))) + "|\n"
    notes = "".join("\n" + note + "  " for note in layout.notes)
    return line(layout.head) + rule + "".join(map(line, layout.rows)) + notes + "\n"


def fragment(layout: Layout) -> str:
    """The table and its notes as an HTML fragment."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in cells) + "</tr>\n"

    layout = layout.map(html.escape).with_ranks(_HTML_RANKS, "bold", "italic")
    body = "".join(line("td", row) for row in layout.rows)
    notes = "<br>\n".join(layout.notes)
    return f"<table>\n<thead>\n{line('th', layout.head)}</thead>\n<tbody>\n{body}</tbody>\n</table>\n<p>{notes}</p>\n"
