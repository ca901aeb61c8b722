"""`invkit run` and `invkit eval`."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invkit.cli.options import device_name, load_recipe, load_registry, load_run, plugin_files, quietly, recipe_names
from invkit.core.signals import stop_requests

if TYPE_CHECKING:  # imports torch, which takes seconds
    pass


@click.command()
@click.argument("recipe", shell_complete=recipe_names)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/<recipe>]")
@device_name
@click.option("--fresh", is_flag=True, help="Start from scratch; an existing run folder is renamed.")
@click.option(
    "--seeds", type=int, help="Train and evaluate with so many seeds, into seed-N within the folder; a joint table."
)
@click.option("--smoke", is_flag=True, help="Shorten every part of the recipe, so that it takes seconds.")
@click.option("--profile", is_flag=True, help="Only print the time and the operations of each part of a training step.")
@click.option("--nproc", type=click.IntRange(min=1), default=1, help="Processes on this machine, one for each GPU.")
@plugin_files
@quietly
def run(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path | None,
    device: str,
    fresh: bool,
    seeds: int | None,
    smoke: bool,
    profile: bool,
    nproc: int,
    plugins: tuple[str, ...],
    quiet: bool,
) -> None:
    """Train, evaluate and report RECIPE. An interrupted run is resumed, also if its folder is given for RECIPE.

    With --seeds N the recipe is trained N times, with the seeds S, S + 1, ...; data and measurements are the same for all.
    """
    with stop_requests():  # before torch is imported, which takes seconds
        if any(Path(recipe).glob("seed-*/resolved.yaml")):  # the runs of several seeds
            from invkit.experiment.run_folder import seed_runs

            runs = seed_runs(Path(recipe))
            out, seeds = out or Path(recipe), seeds or len(runs)
            loaded = load_run(runs[0], overrides, plugins)
        elif (Path(recipe) / "resolved.yaml").is_file():
            out = out or Path(os.path.abspath(recipe) + "-smoke" if smoke else recipe)
            loaded = load_run(Path(recipe), overrides, plugins)
        else:
            loaded = load_recipe(recipe, overrides, plugins)
        from invkit.cli.progress import console_progress
        from invkit.core import distributed
        from invkit.experiment import run as experiment
        from invkit.experiment.run_folder import RunFolder

        if profile:
            click.echo(experiment.profile(loaded, device), nl=False)
            return
        if nproc > 1 and "WORLD_SIZE" not in os.environ:
            raise click.exceptions.Exit(distributed.launch([sys.executable, "-m", "invkit", *sys.argv[1:]], nproc))
        with console_progress(device, quiet) as listener:
            if seeds is None:
                folder = experiment.run(loaded, out=out, device=device, fresh=fresh, smoke=smoke, listener=listener)
            else:
                from invkit.experiment.seeds import run_seeds

                folder = run_seeds(loaded, seeds, out, device, fresh, smoke, listener)
        if not distributed.is_first_process():
            return
        click.echo(_render(RunFolder(folder).stored("table.json"), "table", brief=True), nl=False)
    _console().print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@click.command("eval")
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv", "md", "html"]),
    default="table",
    show_default=True,
    help="How the table is printed; table: as text.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
@click.option("--columns", metavar="NAME,NAME...", help="Print only these metrics of the table.")
@click.option("--wide", is_flag=True, help="Print all metrics and notes, not only what fits on a line.")
@click.option(
    "--name", help="Store the table in RUN/eval/NAME.  [default: a digest of the overrides; RUN/eval without]"
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the table and report of a model file.  [default: runs/NAME]",
)
@click.option("--from-saved", is_flag=True, help="Compute the metrics from stored reconstructions, without the model.")
@device_name
@plugin_files
@quietly
def evaluate(
    runs: tuple[str, ...],
    format_: str,
    out: Path | None,
    columns: str | None,
    wide: bool,
    name: str | None,
    into: Path | None,
    from_saved: bool,
    device: str,
    plugins: tuple[str, ...],
    quiet: bool,
) -> None:
    """Print the metric table of trained runs or model files; for a folder of several seeds, their joint table.

    KEY=VALUE overrides settings of the recipe; such a table is stored beside the run's own, in RUN/eval/NAME.
    """
    overrides = [text for text in runs if "=" in text and not Path(text).exists()]
    folders = [Path(text) for text in runs if text not in overrides]
    if not folders:
        raise click.UsageError("give at least one run folder")
    if into and len(folders) > 1:
        raise click.UsageError("--into is for a single model file")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    from invkit.cli.progress import console_progress
    from invkit.core import distributed
    from invkit.evaluation.combine import merge_runs, per_image
    from invkit.evaluation.table import select
    from invkit.experiment.run_folder import RunFolder
    from invkit.experiment.seeds import any_evaluation, check_columns

    with console_progress(device, quiet) as listener:
        registry = load_registry(plugins)
        places = [RunFolder.find(folders[0], into)] if into else folders
        if columns:
            check_columns(columns.split(","), places, overrides, registry)
        found = [any_evaluation(folder, overrides, device, listener, registry, from_saved, name) for folder in places]
    if not distributed.is_first_process():
        return
    stored = [] if from_saved else [per_image(folder.eval) for _, folder in found]
    table = merge_runs([table for table, _ in found], stored)
    text = _render(select(table, columns.split(",")) if columns else table, format_, brief=not (wide or columns or out))
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=not text.endswith("\n"))


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _render(table: dict[str, Any], form: str, brief: bool) -> str:
    from invkit.evaluation.table import render

    text = render(table, form, shutil.get_terminal_size((120, 24)).columns, brief)
    return text if text.endswith("\n") else text + "\n"
