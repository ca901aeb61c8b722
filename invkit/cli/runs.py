"""`invkit runs`: the runs in a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from invkit.cli.options import json_output, print_result

WIDTHS = {"run": 24, "task": 18, "state": 18, "psnr": 6, "crps": 6}
LEGEND = "psnr of the best mean in dB, crps of the best samples; more: `invkit eval RUN`"


@click.command()
@click.argument("folder", default="runs", metavar="[DIR]", type=click.Path(path_type=Path))
@json_output
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in DIR, also of several seeds, with task, state and headline figures.  [default: runs]"""
    from invkit.core.errors import DataError

    found = [_summary(path.parent, folder) for path in sorted(folder.glob("**/resolved.yaml")) if _is_run(path)]
    if not found:
        raise DataError(f"{folder} holds no run; `invkit run RECIPE` creates one in runs")
    print_result({"schema": "invkit.runs/1", "runs": found} if as_json else "\n".join([*_lines(found), "", LEGEND]))


def _is_run(path: Path) -> bool:
    """Whether it is the recipe of a run, and not that of an evaluation with other settings in `eval/NAME`."""
    return path.parent.parent.name != "eval"


def _summary(path: Path, folder: Path) -> dict[str, Any]:
    """Name, task, state and headline figures of a run; a damaged one has its error as state."""
    from invkit.core.errors import DataError
    from invkit.experiment.run_folder import RunFolder
    from invkit.training.checkpoint import last_step

    run = RunFolder(path)
    name = path.relative_to(folder).as_posix() if path != folder else run.name
    row: dict[str, Any] = {"run": name, "task": None, "state": None, "psnr": None, "crps": None}
    try:
        settings = run.settings
        degradation = settings.get("degradation")
        row["task"] = degradation.get("name") if isinstance(degradation, dict) else degradation
        step, train = max(last_step(run.checkpoints), 0), settings.get("train") or {}
        total = train.get("steps") or train.get("budget")
        row["state"] = f"step {step} of {total}"
        table = run.stored("table.json")
    except DataError as error:
        row["state"] = row["state"] or str(error)
        return row
    row["state"] = "evaluated" if step == total else f"evaluated, {row['state']}"
    values = [(one["readout"], one["metrics"]) for one in table["rows"]]
    psnr = [m["psnr"]["value"] for readout, m in values if readout != "sample" and "psnr" in m]
    crps = [m["crps"]["value"] for readout, m in values if readout == "sample" and "crps" in m]
    row["psnr"] = max((value for value in psnr if value is not None), default=None)
    row["crps"] = min((value for value in crps if value is not None), default=None)
    return row


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    forms = {"psnr": "{:.2f}", "crps": "{:.4f}"}
    yield "  ".join(key.ljust(width) for key, width in WIDTHS.items()).rstrip()
    for row in found:
        cells = ["–" if row[key] is None else forms.get(key, "{}").format(row[key]) for key in WIDTHS]
        cut = [c if len(c) <= w else c[: w - 1] + "…" for c, w in zip(cells, WIDTHS.values(), strict=True)]
        yield "  ".join(map(str.ljust, cut, WIDTHS.values())).rstrip()
