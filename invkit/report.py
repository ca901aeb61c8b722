"""The report of a run: one page that needs nothing beside it."""

import base64
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from invkit.files import write_atomic
from invkit.pictures import sample_sheet
from invkit.table import cell, directions, fragment, lay_out, mark

if TYPE_CHECKING:
    from invkit.evaluation import Evaluation, Shown

TEMPLATE = "report.html.j2"
NOMINAL = (50, 80, 90, 95)


def write_report(folder: Path, result: "Evaluation", record: dict[str, Any]) -> None:
    """Write `folder/report.html`: protocol, table, pictures, diagrams, differences, cost, recipe and record in one file.

    The recipe and the training curve are read from `folder`, and left out where it has none.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("invkit").joinpath(TEMPLATE).read_text("utf-8"))
    paired_to, recipe = result.table["protocol"]["paired_to"], folder / "resolved.yaml"
    better = directions(result.table)
    page = template.render(
        title=result.table["rows"][0]["run"],
        table=result.table,
        protocol=result.table["protocol"],
        metrics=Markup(fragment(lay_out(result.table))),
        several=len({row["degradation"] for row in result.table["rows"]}) > 1,
        differences=[_difference(entry, better.get(entry["metric"])) for entry in result.table["differences"]],
        cost=result.cost,
        reliability=_saved(figure) if (figure := reliability_figure(result.table)) else None,
        training=_training(folder / "metrics.jsonl"),
        sheets={
            grid: (shown.method, _uri(_sheet(shown, f"{paired_to} mean"))) for grid, shown in result.pictures.items()
        },
        recipe=recipe.read_text("utf-8") if recipe.exists() else None,
        record=json.dumps(record, indent=1, sort_keys=True),
    )
    write_atomic(folder / "report.html", page)


def _sheet(shown: "Shown", label: str) -> bytes:
    return sample_sheet(shown.truth, shown.measurement, shown.fill, shown.mean, shown.samples, shown.deviation, label)


def _difference(entry: dict[str, Any], better: str | None) -> dict[str, Any]:
    text = "–" if entry["value"] is None else cell(entry)
    return {**entry, "text": text, "mark": mark(entry, better)}


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.8, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return _uri(data.getvalue())


def reliability_figure(table: dict[str, Any]) -> Figure | None:
    """Share of truths within central intervals of each nominal share, or None where no row samples."""
    figure, axes = _figure()
    drawn = False
    several = len({row["degradation"] for row in table["rows"]}) > 1
    for row in table["rows"]:
        entries = [(p, row["metrics"].get(f"coverage_{p}")) for p in NOMINAL]
        points = [(p, e) for p, e in entries if e and e["value"] is not None]
        if not points:
            continue
        drawn = True
        x = [p for p, _ in points]
        y = [100 * e["value"] for _, e in points]
        bars = [[100 * max(0, e["value"] - (e["lo"] or e["value"])) for _, e in points],
                [100 * max(0, (e["hi"] or e["value"]) - e["value"]) for _, e in points]]  # fmt: skip
        label = f"{row['method']} {'x'.join(map(str, row['grid']))}" + f" {row['degradation']}" * several
        axes.errorbar(x, y, yerr=bars, marker="o", ms=4, lw=1.2, capsize=2, label=label)
    if not drawn:
        return None
    axes.plot([40, 100], [40, 100], color="0.6", lw=1, ls="--", zorder=0)
    axes.set(xlabel="nominal, %", ylabel="truths inside, %", xlim=(45, 100), ylim=(40, 100))
    outside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if several else {}
    axes.legend(frameon=False, fontsize=8, **outside)
    return figure


def _training(path: Path) -> str | None:
    """The loss over the steps, or None where nothing was logged."""
    if not path.exists():
        return None
    records = []
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # a line that a kill cut short
            continue
        if "loss" in record:  # not a validation
            records.append(record)
    if not records:
        return None
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    figure, axes = _figure()
    axes.plot(steps, losses, lw=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if min(losses) > 0 else "linear")
    return _saved(figure)
