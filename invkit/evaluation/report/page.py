"""The report of a run: one self-contained HTML page."""

import base64
import io
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from invkit.core.files import write_atomic
from invkit.evaluation.report.figures import (
    cost_figures,
    deviation_figure,
    plain_figure,
    rank_figures,
    reliability_figure,
)
from invkit.evaluation.report.images import sample_sheet
from invkit.evaluation.table import cell, directions, fragment, lay_out, mark

if TYPE_CHECKING:
    from invkit.evaluation.evaluator import Evaluation
    from invkit.evaluation.loop import Examples

TEMPLATE = "report.html.j2"


def write_report(report: Path, run: Path, result: "Evaluation", record: dict[str, Any]) -> None:
    """Write the report: protocol, table, images, plots, differences, cost, recipe and record.

    The recipe is read from the report's folder, the training curve from that of the run; both are left out if missing.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("invkit.evaluation.report").joinpath(TEMPLATE).read_text("utf-8"))
    paired_to, recipe = result.table["protocol"]["paired_to"], report.parent / "resolved.yaml"
    better = directions(result.table)
    page = template.render(
        title=result.table["rows"][0]["run"],
        table=result.table,
        protocol=result.table["protocol"],
        settings=shown(result.table["protocol"]["degradation"]).removeprefix(
            result.table["protocol"]["degradation"]["name"]
        ),
        metrics=Markup(fragment(lay_out(result.table))),
        several=len({row["degradation"] for row in result.table["rows"]}) > 1,
        differences=[_difference(entry, better.get(entry["metric"])) for entry in result.table["differences"]],
        cost=result.cost,
        calibration=[shown for entry in result.table.get("calibration", ()) for shown in _calibration(entry)],
        reliability=_figure_uri(figure) if (figure := reliability_figure(result.table)) else None,
        deviations=_figure_uri(figure) if (figure := deviation_figure(result.table)) else None,
        quality={place: _figure_uri(figure) for place, figure in cost_figures(result.table, result.cost).items()},
        ranks={row: _figure_uri(figure) for row, figure in rank_figures(result.table).items()},
        training=_training(run / "metrics.jsonl"),
        sheets={
            grid: (shown.method, _uri(_sheet(shown, f"{paired_to} mean"))) for grid, shown in result.examples.items()
        },
        recipe=recipe.read_text("utf-8") if recipe.exists() else None,
        record=json.dumps(record, indent=1, sort_keys=True),
    )
    write_atomic(report, page)


def shown(value: Any) -> str:
    """A setting in words: `name (key: value, ...)` for a part of a recipe, `{key: value, ...}` for another mapping.

    >>> shown({"name": "compose", "of": [{"name": "nothing"}, {"name": "blur", "width": 0.1}]})
    'compose (of: [nothing, blur (width: 0.1)])'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if not isinstance(value, dict):
        return str(value)
    name = value["name"] if isinstance(value.get("name"), str) else None
    inner = ", ".join(f"{key}: {shown(item)}" for key, item in value.items() if key != "name" or name is None)
    if name is None:
        return f"{{{inner}}}"
    return f"{name} ({inner})" if inner else name


def _sheet(shown: "Examples", label: str) -> bytes:
    return sample_sheet(shown.truth, shown.measurement, shown.reference, shown.mean, shown.samples, shown.std, label)


def _difference(entry: dict[str, Any], better: str | None) -> dict[str, Any]:
    text = "–" if entry["value"] is None else cell(entry)
    return {**entry, "text": text, "mark": mark(entry, better)}


def _calibration(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for the conformal factor, and one for the risk-controlling factor."""
    for kind, key, result in (("conformal", "coverage", "images covered"), ("risk", "uncovered", "pixels not covered")):
        found = entry[kind]
        factor = found["reason"] if found["factor"] is None else f"{found['factor']:.3g}"
        value = "–" if found[key]["value"] is None else f"{result}: {cell(found[key])}"
        yield {**entry, **found, "kind": kind, "factor": factor, "result": value}


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _figure_uri(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return _uri(data.getvalue())


def _training(path: Path) -> str | None:
    """A plot of the loss over the steps, or None if no losses are logged in `path`."""
    if not path.exists():
        return None
    records = []
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # a line truncated when the process was killed
            continue
        if "loss" in record:  # not a record of a validation
            records.append(record)
    if not records:
        return None
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    figure, axes = plain_figure()
    axes.plot(steps, losses, lw=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if min(losses) > 0 else "linear")
    return _figure_uri(figure)
