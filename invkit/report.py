"""The report of a run: one HTML file that needs nothing else."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from invkit.evaluation import Evaluation
from invkit.files import write_atomic
from invkit.pictures import sample_sheet
from invkit.table import HEAD, marks, notes, number, row_label

_MARKS = {"+": "better", "-": "worse"}


def write_report(folder: Path, result: Evaluation, record: Mapping[str, Any]) -> None:
    """Write `folder/report.html` from an evaluation, the run's record and, where there is one, its `metrics.jsonl`."""
    write_atomic(folder / "report.html", render_report(folder.name, result, record, folder / "metrics.jsonl"))


def render_report(title: str, result: Evaluation, record: Mapping[str, Any], metrics: Path) -> str:
    """The report as HTML; what is missing is left out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("invkit", "."), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    table = result.table
    names = list(dict.fromkeys(name for row in table["rows"] for name in row["metrics"]))
    found = marks(table)
    keys = [(row["run"], row["method"], row["readout"], str(row["grid"])) for row in table["rows"]]
    rows = [
        {
            "head": [row_label(row), "x".join(map(str, row["grid"])), f"{row['nfe']:g}", row["samples"]],
            "cells": [_cell(row["metrics"].get(name), found.get((*key, name))) for name in names],
        }
        for row, key in zip(table["rows"], keys, strict=True)
    ]
    plots = [("Reliability of central intervals", _reliability(table)), ("Training loss", _training(metrics))]
    cost = result.cost
    memory = cost.get("peak_cuda_bytes") or cost.get("peak_process_bytes") or 0
    return environment.get_template("report.html.j2").render(
        title=title,
        protocol=_protocol(table),
        head=[*HEAD, *names],
        rows=rows,
        notes=notes(table, colour=True),
        differences=_differences(table, names, found),
        difference_head=names,
        paired_to=table["protocol"]["paired_to"],
        sheets=_sheets(result),
        plots=[(name, _encode(image)) for name, image in plots if image is not None],
        cost_head=["row", "grid", "network calls", "K", "milliseconds"],
        cost_rows=[_cost_row(row) for row in cost["rows"]],
        cost_note=f"On {cost['device']} with {cost['threads']} threads, after a warm-up; peak memory {memory / 2**30:.2f} GiB.",
        record=json.dumps(record, indent=1, sort_keys=True),
    )


def _cell(cell: Mapping[str, Any] | None, mark: str | None) -> dict[str, str]:
    if cell is None or cell["value"] is None:
        return {"value": "–", "interval": "", "mark": ""}
    interval = "" if cell["lo"] is None else f"[{number(cell['lo'])}, {number(cell['hi'])}]"
    return {"value": number(cell["value"]), "interval": interval, "mark": _MARKS.get(mark or "", "")}


def _differences(table: Mapping[str, Any], names: list[str], found: Mapping[Any, str]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for d in table["differences"]:
        key = (d["run"], d["method"], d["readout"], str(d["grid"]))
        rows.setdefault(key, {"label": f"{row_label(d)} {'x'.join(map(str, d['grid']))}", "by": {}})["by"][d["metric"]] = (
            _cell(d, found.get((*key, d["metric"])))
        )
    return [{"label": r["label"], "cells": [r["by"].get(n) or _cell(None, None) for n in names]} for r in rows.values()]


def _protocol(table: Mapping[str, Any]) -> str:
    p = table["protocol"]
    settings = ", ".join(f"{key} {value}" for key, value in p["degradation"].items() if key != "name" and value is not None)
    return (
        f"{table['images']} test pictures in {p['groups']} groups, measured by {p['degradation']['name']} ({settings}), noise "
        f"deviation {p['noise_sigma']:g} on [-1, 1]; seed {p['seed']}, {p['samples']} posterior samples. PSNR, SSIM and MAE on "
        "[0, 1] after clipping, with exactly observed pixels pasted in; CRPS, coverage and spread over hidden pixels, unclipped. "
        f"Intervals: {p['interval']}."
    )


def _cost_row(row: Mapping[str, Any]) -> list[str]:
    seconds = row.get("seconds_per_sample", row.get("seconds_per_picture", 0.0))
    unit = "a sample" if "seconds_per_sample" in row else "a picture"
    return [row_label(row), "x".join(map(str, row["grid"])), f"{row['nfe']:g}", str(row["samples"]), f"{1000 * seconds:.3g} {unit}"]


def _sheets(result: Evaluation) -> list[tuple[str, str]]:
    """A sample sheet for every method with a mean and samples, beside the Gaussian mean where there is one."""
    shown, out = result.shown, []
    for name, samples in result.shown.samples.items():
        if name in shown.means and len(samples) >= 2:
            start = "gaussian" if "gaussian" in shown.means else next(iter(shown.means))
            image = sample_sheet(
                shown.truth, shown.measurement, shown.means[start], shown.means[name], samples, f"{start} mean"
            )
            out.append((f"Reconstructions: {name}", _encode(image)))
    return out


def _encode(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _reliability(table: Mapping[str, Any]) -> bytes | None:
    """Share of truths inside central intervals against their nominal share."""
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.add_subplot()
    drawn = False
    for row in table["rows"]:
        points = [
            (int(name.removeprefix("coverage_")) / 100, cell["value"], cell["lo"], cell["hi"])
            for name, cell in row["metrics"].items()
            if name.startswith("coverage_") and cell["value"] is not None
        ]
        if points:
            nominal, value, low, high = zip(*points, strict=True)
            line = axes.plot(nominal, value, "o-", label=f"{row_label(row)} {'x'.join(map(str, row['grid']))}")
            if None not in low:
                axes.fill_between(nominal, low, high, alpha=0.15, color=line[0].get_color())
            drawn = True
    if not drawn:
        return None
    axes.plot([0.4, 1], [0.4, 1], color="grey", lw=1, ls="--", label="calibrated")
    axes.set(xlabel="nominal coverage", ylabel="observed coverage", title="Reliability of central intervals", xlim=(0.45, 1), ylim=(0.45, 1))
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _training(metrics: Path) -> bytes | None:
    """The loss against steps, smoothed over a twentieth of the run."""
    if not metrics.exists():
        return None
    records = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    if len(records) < 2:
        return None
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    span = max(1, len(losses) // 20)
    smooth = [sum(losses[max(0, i - span + 1) : i + 1]) / min(i + 1, span) for i in range(len(losses))]
    figure = Figure(figsize=(5.4, 4.2))
    axes = figure.add_subplot()
    axes.plot(steps, losses, lw=0.6, alpha=0.4)
    axes.plot(steps, smooth, color="C0", lw=1.6)
    axes.set(xlabel="step", ylabel="loss (residual variance = 1)", title="Training loss")
    return _png(figure)
