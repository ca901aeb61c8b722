"""The table, for a person or a program."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from invkit.evaluation import flat_rows, to_csv

Format = Literal["table", "json", "csv", "md", "html"]
BEST = {"psnr": "up", "psnr_hidden": "up", "ssim": "up", "mae": "down", "crps": "down"}


def number(value: float) -> str:
    """Four significant digits, or two after the point."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def cell_text(cell: Mapping[str, Any]) -> str:
    """A value and its interval."""
    if cell["value"] is None:
        return "–"
    if cell["lo"] is None:
        return number(cell["value"])
    return f"{number(cell['value'])} [{number(cell['lo'])}, {number(cell['hi'])}]"


def row_label(row: Mapping[str, Any]) -> str:
    return f"{row['method']} {row['readout']}"


def marks(table: Mapping[str, Any]) -> dict[tuple[str, str, str, str, str], str]:
    """A mark for every cell whose paired difference excludes zero: + better, - worse, * where neither is meant."""
    found = {}
    for d in table.get("differences", []):
        if d["lo"] is None or d["lo"] <= 0 <= d["hi"]:
            continue
        good = {"up": d["lo"] > 0, "down": d["hi"] < 0}.get(BEST.get(d["metric"], ""))
        key = (d["run"], d["method"], d["readout"], str(d["grid"]), d["metric"])
        found[key] = "*" if good is None else "+" if good else "-"
    return found


def reasons(table: Mapping[str, Any]) -> list[str]:
    """Why some cells are empty, a line for each reason."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in table["rows"]:
        for name, cell in row["metrics"].items():
            if cell["value"] is None:
                names, rows = found.setdefault(cell["reason"], ({}, {}))
                names[name] = rows[row_label(row)] = None
    return [f"– {reason}: {', '.join(names)} of {', '.join(rows)}" for reason, (names, rows) in found.items()]


def _cells(table: Mapping[str, Any]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Head and marked cells of every row."""
    found = marks(table)
    for row in table["rows"]:
        key = (row["run"], row["method"], row["readout"], str(row["grid"]))
        texts = {name: cell_text(cell) + found.get((*key, name), "") for name, cell in row["metrics"].items()}
        yield [row_label(row), "x".join(map(str, row["grid"])), f"{row['nfe']:g}", str(row["samples"])], texts


HEAD = ["row", "grid", "calls", "K"]


def render(table: Mapping[str, Any], form: Format = "table", width: int | None = None) -> str:
    """A table as text: `table` for a terminal of some width, `json`, `csv`, `md` or `html` (a fragment)."""
    if form == "json":
        return json.dumps(table, indent=1) + "\n"
    if form == "csv":
        return to_csv(flat_rows(table))
    names = list(dict.fromkeys(name for row in table["rows"] for name in row["metrics"]))
    rows = list(_cells(table))
    if form == "md":
        lines = ["| " + " | ".join([*HEAD, *names]) + " |", "|" + " --- |" * (len(HEAD) + len(names))]
        lines += ["| " + " | ".join([*head, *(texts.get(n, "") for n in names)]) + " |" for head, texts in rows]
        return "\n".join([*lines, "", *(f"{line}  " for line in notes(table))]) + "\n"
    if form == "html":
        from markupsafe import escape as html

        def line(tag: str, cells: list[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html(c)}</{tag}>" for c in cells) + "</tr>"

        body = "\n".join(line("td", [*head, *(texts.get(n, "") for n in names)]) for head, texts in rows)
        return f"<table>\n<thead>{line('th', [*HEAD, *names])}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    return _terminal(rows, names, notes(table), width)


def notes(table: Mapping[str, Any], *, colour: bool = False) -> list[str]:
    """What a reader of the table has to know, below it; `colour` where colours stand for the marks."""
    lines = [f"{table['images']} test pictures; [ ] is a 95 % bootstrap interval."]
    if table.get("differences"):
        against = table["protocol"]["paired_to"]
        how = "green better, red worse" if colour else "+ better, - worse, * different"
        lines.append(f"Where the paired difference to {against} excludes 0: {how}.")
    return lines + reasons(table)


def _terminal(rows: list[tuple[list[str], dict[str, str]]], names: list[str], below: list[str], width: int | None) -> str:
    """Tables below one another, each as many columns as fit."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width or Console().width, highlight=False)
    sizes = {n: max(len(n), *(len(texts.get(n, "")) for _, texts in rows)) + 3 for n in names}
    fixed = sum(max(len(title), *(len(head[i]) for head, _ in rows)) + 3 for i, title in enumerate(HEAD)) + 1
    left = list(names)
    while left:
        room = console.width - fixed
        chosen: list[str] = []
        while left and (not chosen or sizes[left[0]] <= room):
            room -= sizes[left[0]]
            chosen.append(left.pop(0))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in HEAD:
            table.add_column(title, no_wrap=True)
        for name in chosen:
            table.add_column(name, no_wrap=True, justify="right")
        for head, texts in rows:
            table.add_row(*map(escape, [*head, *(texts.get(n, "") for n in chosen)]))
        console.print(table)
        console.print()
    for line in below:
        console.print(escape(line), style="dim")
    return buffer.getvalue()
