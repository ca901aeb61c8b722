"""`invkit models`: the models that ship with invkit."""

from collections.abc import Sequence
from typing import Any

import click

from invkit.cli.options import json_output, print_result

COLUMNS = ("name", "task", "grid", "psnr", "gain", "crps", "size", "licence")
WIDTH = 80
LEGEND = "psnr of the mean in dB, gain over kriging, crps of samples; `invkit models NAME` shows the card of a model"


@click.command()
@click.argument("name", required=False)
@json_output
def models(name: str | None, as_json: bool) -> None:
    """List the models that ship with invkit, or print the card of one. Commands take them as pretrained:NAME."""
    from invkit.core.settings import PRETRAINED
    from invkit.experiment.model_file import SHIPPED, shipped, shipped_file
    from invkit.experiment.model_summary import summary

    if name is not None:
        file = shipped_file(name.removeprefix(PRETRAINED))
        if as_json:
            print_result(summary(file.stem))
        else:
            click.echo((SHIPPED / f"{file.stem}.md").read_text("utf-8"), nl=False)
        return
    found = [summary(one) for one in shipped()]
    print_result({"schema": "invkit.models/1", "models": found} if as_json else _text(found))


def _text(found: Sequence[dict[str, Any]]) -> str:
    rows = [list(COLUMNS), *([_cell(one, column) for column in COLUMNS] for one in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in lines), "", LEGEND])


def _cell(one: dict[str, Any], column: str) -> str:
    value = one[column]
    if value is None:
        return "–"
    forms = {"psnr": "{:.2f}", "gain": "{:+.2f}", "crps": "{:.4f}", "size": "{:.1f} MB"}
    return forms.get(column, "{}").format(value / 1e6 if column == "size" else value)
