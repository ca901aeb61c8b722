"""The command line: prints and exit codes only. Results go to stdout, everything else to stderr."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from invkit.errors import DataError, InvkitError, RecipeError, ResourceError
from invkit.lookup import read_recipe

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.plugins import Registry
    from invkit.recipe import Recipe

_plugin = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(exists=True, dir_okay=False), help="Load a plugin file (.py)."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("invkit")
    except PackageNotFoundError:
        return "unknown"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="invkit")
def cli() -> None:
    """Image inverse problems with operator-space diffusion: from a recipe to posterior samples and an honest table."""


@cli.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/<recipe>]")
@_device
@click.option("--fresh", is_flag=True, help="Begin anew; a run folder that exists is renamed.")
@click.option("--smoke", is_flag=True, help="The whole recipe in seconds, on few pictures and steps.")
@_plugin
def run(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path | None,
    device: str,
    fresh: bool,
    smoke: bool,
    plugins: tuple[str, ...],
) -> None:
    """Train, evaluate and report what RECIPE says; go on where an earlier run of it stopped."""
    loaded = _load(recipe, overrides, plugins)
    from invkit import experiment

    experiment.run(loaded, out=out, device=device, fresh=fresh, smoke=smoke)


@cli.command("eval")
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv", "md", "html"]), default="table")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
@click.option("--from-saved", is_flag=True, help="Only print what was evaluated before.")
@_device
def evaluate(runs: tuple[str, ...], format_: str, out: Path | None, from_saved: bool, device: str) -> None:
    """Evaluate trained runs and print their metric table; KEY=VALUE changes settings of `eval`."""
    overrides = [text for text in runs if "=" in text and not Path(text).exists()]
    folders = [Path(text) for text in runs if text not in overrides]
    if not folders:
        raise click.UsageError("name at least one run folder")
    if from_saved:
        tables = [_saved(folder) for folder in folders]
    else:
        from invkit import experiment

        tables = [experiment.evaluate(folder, overrides, device=device) for folder in folders]
    from invkit.table import render

    text = render(_merged(tables), format_)
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=not text.endswith("\n"))


def _merged(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """One table of several runs; each row names its own."""
    if len({table["images"] for table in tables}) > 1:
        raise RecipeError("the runs were evaluated on different numbers of pictures; give all the same eval.images=N")
    lists = {key: [item for table in tables for item in table.get(key, [])] for key in ("rows", "differences")}
    return {**tables[0], **lists}


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "eval" / "table.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no saved table can be read ({error}); leave out --from-saved to make one") from None


@cli.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@_plugin
@click.pass_context
def validate(context: click.Context, recipes: tuple[str, ...], plugins: tuple[str, ...]) -> None:
    """Check recipes and name all of their mistakes."""
    codes = [0]
    for recipe in recipes:
        try:
            _load(recipe, (), plugins)
            click.echo(f"{recipe}: ok")
        except InvkitError as error:
            codes.append(_complain(error))
    context.exit(max(codes))


@cli.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@_plugin
def show(recipe: str, overrides: tuple[str, ...], plugins: tuple[str, ...]) -> None:
    """Print a recipe with every setting that it leaves to its default."""
    click.echo(_load(recipe, overrides, plugins).dump(), nl=False)


@cli.command()
@_json
def doctor(as_json: bool) -> None:
    """Print versions, devices, memory and the state of every plugin."""
    from invkit.inventory import doctor_report, doctor_text

    report = doctor_report(_version())
    _print(report if as_json else doctor_text(report))


@cli.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> None:
    """List and describe what recipes can name."""
    if context.invoked_subcommand is None:
        context.invoke(plugins_list)


@plugins.command("list")
@_plugin
@_json
def plugins_list(plugins: tuple[str, ...] = (), as_json: bool = False) -> None:
    """List degradations and data sets, where they come from, and the plugins that failed."""
    from invkit.inventory import listing, listing_text

    found = listing(_registry(plugins))
    _print(found if as_json else listing_text(found))


@plugins.command("show")
@click.argument("name")
@_plugin
@_json
def plugins_show(name: str, plugins: tuple[str, ...], as_json: bool) -> None:
    """Describe the settings of NAME: anything that a recipe can choose."""
    from invkit.inventory import description_text, descriptions

    found = descriptions(_registry(plugins), name)
    _print(found if as_json else description_text(found))


def _registry(plugins: Sequence[str]) -> "Registry":
    from invkit.plugins import registry

    return registry(tuple(plugins))


def _load(recipe: str, overrides: Sequence[str], plugins: Sequence[str]) -> "Recipe":
    read_recipe(recipe)  # what is no recipe at all is refused before torch is imported
    from invkit.recipe import load_recipe

    return load_recipe(recipe, overrides, _registry(plugins))


def _print(value: Any) -> None:
    click.echo(value if isinstance(value, str) else json.dumps(value, indent=2, default=str))


def _complain(error: BaseException) -> int:
    """Tell the person what went wrong and return the exit code; the one place where errors become codes."""
    if os.environ.get("INVKIT_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    error = _exhausted(error) or error
    if not isinstance(error, InvkitError):
        traceback.print_exception(error)
        click.echo("error: this is a bug in invkit or in a plugin; the lines above say where", err=True)
        return 1
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
    return error.exit_code


def _exhausted(error: BaseException) -> ResourceError | None:
    """The same error as one of memory or disk, where it is one."""
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"the disk is full: {first}")
    torch = sys.modules.get("torch")
    gpu = torch is not None and isinstance(error, torch.OutOfMemoryError)
    if gpu or isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in first):
        return ResourceError(f"out of memory; lower train.batch or eval.batch, or raise train.accumulate: {first}")
    return None


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        code = cli.main(arguments, prog_name="invkit", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = _complain(error)
    sys.exit(code if isinstance(code, int) else 0)
