"""The metric table as text: for people, for other programs, for a page."""

import csv
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SCHEMA = "invkit.table/1"
LISTS = ("rows", "differences", "best", "calibration")  # of entries that say which run and degradation they belong to
FORMATS = ("table", "json", "csv", "md", "html")
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_STYLE = """table{border-collapse:collapse;font:14px system-ui,sans-serif;margin:1em 0}
td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}"""

# How a rank is shown: by signs in text, by type in markdown and HTML.
_SIGNED = {"best": "{} ●", "alike": "{} ○", "": "{}"}
_MARKED = {"best": "**{}**", "alike": "*{}*", "": "{}"}
_TAGGED = {"best": "<strong>{}</strong>", "alike": "<em>{}</em>", "": "{}"}
_RANKED = (
    "{}: best of its like; {}: not told from it, the paired difference's interval includes 0 (points and means are compared "
    "with each other, samples with samples, within a run)"
)

Table = Mapping[str, Any]
Key = tuple[str, str, str, str, tuple[int, ...], str]


@dataclass(frozen=True)
class Layout:
    """The table as strings: a head of columns, cells, and what has to be said under it."""

    head: tuple[str, ...]
    fixed: int  # how many first columns name a row
    rows: tuple[tuple[str, ...], ...]
    ranks: tuple[tuple[str, ...], ...]  # of every cell: "best", "alike" or nothing
    notes: tuple[str, ...]

    def mapped(self, change: Callable[[str], str]) -> "Layout":
        """With every text changed."""
        rows = tuple(tuple(map(change, row)) for row in self.rows)
        return replace(self, head=tuple(map(change, self.head)), rows=rows, notes=tuple(map(change, self.notes)))

    def with_ranks(self, shapes: Mapping[str, str], best: str, alike: str) -> "Layout":
        """With the ranks in the cells, each in its shape, and a note of what they mean."""
        if not any(map(any, self.ranks)):
            return self
        rows = [
            tuple(shapes[rank].format(text) for text, rank in zip(*pair, strict=True))
            for pair in zip(self.rows, self.ranks, strict=True)
        ]
        return replace(self, rows=tuple(rows), notes=(*self.notes, _RANKED.format(best, alike)))


def render(table: Table, fmt: str = "table", width: int = 100) -> str:
    """The table as `table` (text of at most `width` columns where that is possible), `json`, `csv`, `md` or `html`."""
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
        return _text(layout, width)
    raise ValueError(f"{fmt} is no format of a table; choose {', '.join(FORMATS)}")


def to_csv(table: Table) -> str:
    """One line for each value: row, metric, value, interval, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = ["run", "degradation", "method", "readout"]
    writer.writerow([*named, "grid", "nfe", "samples", "metric", "value", "lo", "hi", "reason"])
    for row in table["rows"]:
        first = [*(row[key] for key in named), "x".join(map(str, row["grid"])), row["nfe"], row["samples"]]
        for name, entry in row["metrics"].items():
            writer.writerow([*first, name, entry["value"], entry["lo"], entry["hi"], entry.get("reason", "")])
    return text.getvalue()


def number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def cell(entry: Mapping[str, Any]) -> str:
    """A value with its interval: `21.04 ±0.31`, or `21.04 [20.50, 21.20]` where that is lopsided."""
    value, lo, hi = entry["value"], entry["lo"], entry["hi"]
    if lo is None or hi is None or hi <= lo:
        return f"{value:.4g}"
    half = (hi - lo) / 2
    decimals = next((d for d in range(7) if half * 10**d >= 9.5), 6)  # two digits of the interval
    if abs(hi + lo - 2 * value) > 0.25 * (hi - lo):
        return f"{number(value, decimals)} [{number(lo, decimals)}, {number(hi, decimals)}]"
    return f"{number(value, decimals)} ±{number(half, decimals)}"


def directions(table: Table) -> dict[str, str | None]:
    """Which way each metric is better: `higher`, `lower`, or None where there is a right value or none at all."""
    protocols = table["protocol"] if isinstance(table["protocol"], list) else [table["protocol"]]
    return {name: better for protocol in protocols for name, better in protocol.get("better", {}).items()}


def mark(entry: Mapping[str, Any], better: str | None) -> str:
    """▲ better, ▼ worse, * different, from a paired difference whose interval excludes 0; else nothing."""
    value, lo, hi = entry["value"], entry["lo"], entry["hi"]
    if value is None or lo is None or hi is None or lo <= 0 <= hi:
        return ""
    if better is None:
        return "*"
    return "▲" if (value > 0) == (better == "higher") else "▼"


def lay_out(table: Table) -> Layout:
    """Rows by their names, metrics as columns, marks and footnotes; columns that say the same everywhere are left out."""
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
    only = {"degradation": rows[0]["degradation"]}  # of tables whose differences do not say theirs
    better = directions(table)
    marks = {
        _key({**only, **entry}, entry["metric"]): mark(entry, better.get(entry["metric"]))
        for entry in table.get("differences", ())
    }
    ranks = _ranks(table)
    reasons: dict[str, int] = {}
    body, ranked = [], []
    for i, row in enumerate(rows):
        cells = [values[i] for values in names.values()]
        ranked.append((*[""] * len(cells), *(ranks.get(_key(row, name), "") for name in metrics)))
        for name in metrics:
            entry = row["metrics"].get(name)
            if entry is None:
                cells.append("")
            elif entry["value"] is None:
                foot = reasons.setdefault(entry["reason"], len(reasons) + 1)
                cells.append("–" + str(foot).translate(_SUPERSCRIPT))
            else:
                cells.append(f"{cell(entry)} {marks.get(_key(row, name), '')}".rstrip())
        body.append(tuple(cells))
    notes = [f"{table['images']} test pictures; ± half of the 95 % interval, [ ] where it is lopsided"]
    if any(marks.values()):
        against = ", ".join(dict.fromkeys(entry["against"].split()[0] for entry in table["differences"]))
        notes.append(f"▲ better, ▼ worse, * different than {against}: the paired difference's interval excludes 0")
    notes += table.get("notes", ())
    notes += [f"{str(foot).translate(_SUPERSCRIPT)} {reason}" for reason, foot in reasons.items()]
    return Layout((*names, *metrics), len(names), tuple(body), tuple(ranked), tuple(notes))


def _ranks(table: Table) -> dict[Key, str]:
    """What the best of their like, and those that cannot be told from them, are marked with."""
    found = {}
    for entry in table.get("best", ()):
        for row in entry["alike"]:
            found[_key({**entry, **row}, entry["metric"])] = "alike"
        found[_key({**entry, **entry["best"]}, entry["metric"])] = "best"
    return found


def _key(row: Mapping[str, Any], metric: str) -> Key:
    return row["run"], row["degradation"], row["method"], row["readout"], tuple(row["grid"]), metric


def _text(layout: Layout, width: int) -> str:
    """With rich; as many tables under one another as the width asks for."""
    layout = layout.with_ranks(_SIGNED, "●", "○")
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    widths = [max(len(row[i]) for row in (layout.head, *layout.rows)) + 3 for i in range(len(layout.head))]
    room = width - sum(widths[: layout.fixed])
    parts: list[list[int]] = []
    for i in range(layout.fixed, len(layout.head)):
        if not parts or sum(widths[j] for j in parts[-1]) + widths[i] > room:
            parts.append([])
        parts[-1].append(i)
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

    layout = layout.mapped(escaped).with_ranks(_MARKED, "bold", "italic")
    rule = "|" + "|".join(" :-- " if i < layout.fixed else " --: " for i in range(len(layout.head))) + "|\n"
    notes = "".join("\n" + note + "  " for note in layout.notes)
    return line(layout.head) + rule + "".join(map(line, layout.rows)) + notes + "\n"


def fragment(layout: Layout) -> str:
    """The table and its notes as HTML without a page around them."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in cells) + "</tr>\n"

    layout = layout.mapped(html.escape).with_ranks(_TAGGED, "bold", "italic")
    body = "".join(line("td", row) for row in layout.rows)
    notes = "<br>\n".join(layout.notes)
    return f"<table>\n<thead>\n{line('th', layout.head)}</thead>\n<tbody>\n{body}</tbody>\n</table>\n<p>{notes}</p>\n"
