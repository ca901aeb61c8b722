"""The report of a run: one self-contained HTML page."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from invkit.core.files import write_atomic
from invkit.evaluation.report.figures import (
    cost_figures,
    deviation_figure,
    rank_figures,
    reliability_figure,
    training_figure,
)
from invkit.evaluation.report.gallery import gallery, uri
from invkit.evaluation.report.headline import headline
from invkit.evaluation.table import cell, directions, fragment, lay_out, mark

if TYPE_CHECKING:
    from invkit.evaluation.evaluator import Evaluation

PACKAGE = "invkit.evaluation.report"


def write_report(
    report: Path, run: Path, result: "Evaluation", record: dict[str, Any], citations: Sequence[str] = ()
) -> None:
    """Write the report: task, figures of every row, images, plots, differences, cost, recipe, record and citations.

    The recipe is read from the report's folder, the training curve from that of the run; both are left out if missing.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    table, recipe = result.table, report.parent / "resolved.yaml"
    script = _text("report.js")
    plots: dict[str, list[dict[str, str]]] = {}  # by heading
    for one in _plots(result, _logged(run / "metrics.jsonl")):
        plots.setdefault(one["heading"], []).append(one)
    page = environment.from_string(_text("report.html.j2")).render(
        style=Markup(_text("report.css")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=table["rows"][0]["run"],
        table=table,
        protocol=table["protocol"],
        degradation=shown(table["protocol"]["degradation"]),
        headline=headline(table, result.cost),
        metrics=Markup(fragment(lay_out(table))),
        several=len({row["degradation"] for row in table["rows"]}) > 1,
        differences=_differences(table),
        cost=result.cost,
        calibration=[shown for entry in table.get("calibration", ()) for shown in _calibration(entry)],
        plots=plots,
        galleries={grid: gallery(examples()) for grid, examples in result.examples.items()},
        recipe=recipe.read_text("utf-8") if recipe.exists() else None,
        record=json.dumps(record, indent=1, sort_keys=True),
        citations=citations,
    )
    write_atomic(report, page)


def shown(value: Any) -> str:
    """A setting in words: `name (key: value, ...)` for a part of a recipe, `{key: value, ...}` for another mapping; without nulls.

    >>> shown({"name": "compose", "of": [{"name": "nothing"}, {"name": "blur", "width": 0.1}]})
    'compose (of: [nothing, blur (width: 0.1)])'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if not isinstance(value, dict):
        return str(value)
    name = value["name"] if isinstance(value.get("name"), str) else None
    inner = ", ".join(
        f"{key}: {shown(item)}" for key, item in value.items() if item is not None and (key != "name" or name is None)
    )
    if name is None:
        return f"{{{inner}}}"
    return f"{name} ({inner})" if inner else name


def _text(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text("utf-8")


def _differences(table: dict[str, Any]) -> list[dict[str, Any]]:
    better = directions(table)
    return [
        {**one, "text": "–" if one["value"] is None else cell(one), "mark": mark(one, better.get(one["metric"]))}
        for one in table["differences"]
    ]


def _calibration(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for the conformal factor, and one for the risk-controlling factor."""
    for kind, key, result in (("conformal", "coverage", "images covered"), ("risk", "uncovered", "pixels not covered")):
        found = entry[kind]
        factor = found["reason"] if found["factor"] is None else f"{found['factor']:.3g}"
        value = "–" if found[key]["value"] is None else f"{result}: {cell(found[key])}"
        yield {**entry, **found, "kind": kind, "factor": factor, "result": value}


def _plots(result: "Evaluation", records: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Heading, title, caption and address of every plot."""

    def plot(heading: str, title: str, caption: str, figure: Figure | None) -> Iterator[dict[str, str]]:
        if figure is not None:
            yield {"heading": heading, "title": title, "caption": caption, "address": uri(_svg(figure), "svg+xml")}

    table = result.table
    yield from plot(
        "Calibration", "Reliability",
        "Share of truths inside central intervals; a true posterior lies on the dashed line.", reliability_figure(table),
    )  # fmt: skip
    yield from plot(
        "Calibration", "Error against deviation",
        "Error of the mean of the samples against their predicted standard deviation, on [0, 1]; a true posterior lies on the "
        "dashed line.", deviation_figure(table),
    )  # fmt: skip
    for row, figure in rank_figures(table).items():
        yield from plot("Rank histograms", row, "Density 1 at every rank: a true posterior.", figure)
    for place, figure in cost_figures(table, result.cost).items():
        caption = f"At {place}; for samples, the time of all samples of an image."
        yield from plot("Quality against cost", "Quality against cost", caption, figure)
    caption = "Loss of the training; on a logarithmic axis if it is positive."
    yield from plot("Training", "Training loss", caption, training_figure(records))


def _svg(figure: Figure) -> bytes:
    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "invkit"}):  # names of parts of the picture, the same in every report
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return data.getvalue()


def _logged(path: Path) -> list[dict[str, Any]]:
    """The records of a training log; lines truncated when the process was killed are left out."""
    records = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
