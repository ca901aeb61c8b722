"""`invkit run` and `invkit eval`."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invkit.cli.options import device_name, load_recipe_of, plugin_files, registry_of
from invkit.core.errors import DataError
from invkit.core.signals import stop_requests

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.experiment.callbacks import Listener


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/<recipe>]")
@device_name
@click.option("--fresh", is_flag=True, help="Begin anew; a run folder that exists is renamed.")
@click.option("--smoke", is_flag=True, help="The whole recipe in seconds, on few pictures and steps.")
@click.option("--profile", is_flag=True, help="Print where the time of a training step goes, and nothing else.")
@click.option("--nproc", type=click.IntRange(min=1), default=1, help="Processes on this machine, one for each GPU.")
@plugin_files
def run(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path | None,
    device: str,
    fresh: bool,
    smoke: bool,
    profile: bool,
    nproc: int,
    plugins: tuple[str, ...],
) -> None:
    """Train, evaluate and report what RECIPE says; go on where an earlier run of it stopped."""
    with stop_requests():  # from the first moment: torch alone takes seconds to import
        loaded = load_recipe_of(recipe, overrides, plugins)
        from invkit.core import distributed
        from invkit.experiment import run as experiment

        if profile:
            from invkit.training.profiling import profile_text

            click.echo(profile_text(experiment.profile(loaded, device), loaded.train.batch), nl=False)
            return
        if nproc > 1 and "WORLD_SIZE" not in os.environ:
            raise click.exceptions.Exit(distributed.launch([sys.executable, "-m", "invkit", *sys.argv[1:]], nproc))
        with _progress(device) as listener:
            folder = experiment.run(loaded, out=out, device=device, fresh=fresh, smoke=smoke, listener=listener)
        if not distributed.is_first_process():
            return
        click.echo(_render(_saved(folder), "table"), nl=False)
    _console().print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@click.command("eval")
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv", "md", "html"]), default="table")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
@click.option("--from-saved", is_flag=True, help="From the stored reconstructions, without the model.")
@device_name
@plugin_files
def evaluate(
    runs: tuple[str, ...], format_: str, out: Path | None, from_saved: bool, device: str, plugins: tuple[str, ...]
) -> None:
    """Evaluate trained runs and print their metric table; KEY=VALUE changes settings of `eval`."""
    overrides = [text for text in runs if "=" in text and not Path(text).exists()]
    folders = [Path(text) for text in runs if text not in overrides]
    if not folders:
        raise click.UsageError("name at least one run folder")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    from invkit.core import distributed
    from invkit.evaluation.combine import merge_runs, per_image
    from invkit.experiment import run as experiment

    with _progress(device) as listener:
        registry = registry_of(plugins)
        tables = [experiment.evaluate(folder, overrides, device, listener, registry, from_saved) for folder in folders]
    if not distributed.is_first_process():
        return
    # Figures of each picture are those of the runs' own tables.
    whole = len(folders) > 1 and not overrides and not from_saved
    text = _render(merge_runs(tables, [per_image(folder / "eval") for folder in folders] if whole else ()), format_)
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=not text.endswith("\n"))


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


@contextlib.contextmanager
def _progress(device: str) -> "Iterator[Listener]":
    """A listener that shows what a run does on stderr."""
    from invkit.cli.progress import ConsoleListener
    from invkit.core.device import pick_device

    shown = ConsoleListener(_console(), cpu=pick_device(device).type == "cpu")
    try:
        yield shown
    finally:
        shown.close()


def _render(table: dict[str, Any], form: str) -> str:
    from invkit.evaluation.table import render

    text = render(table, form, shutil.get_terminal_size((120, 24)).columns)
    return text if text.endswith("\n") else text + "\n"


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "eval" / "table.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the table cannot be read ({error}); `invkit eval {folder}` makes it anew") from None
