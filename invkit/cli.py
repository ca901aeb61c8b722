"""The command line: prints and exit codes only. Results go to stdout, everything else to stderr."""

import contextlib
import errno
import json
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from invkit.errors import DataError, InvkitError, RecipeError, ResourceError
from invkit.lookup import read_recipe

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.experiment import Listener
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

    with _progress(device) as listener:
        folder = experiment.run(loaded, out=out, device=device, fresh=fresh, smoke=smoke, listener=listener)
    click.echo(_render(_saved(folder), "table"), nl=False)
    _console().print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@cli.command("eval")
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv", "md", "html"]), default="table")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
@_device
def evaluate(runs: tuple[str, ...], format_: str, out: Path | None, device: str) -> None:
    """Evaluate trained runs and print their metric table; KEY=VALUE changes settings of `eval`."""
    overrides = [text for text in runs if "=" in text and not Path(text).exists()]
    folders = [Path(text) for text in runs if text not in overrides]
    if not folders:
        raise click.UsageError("name at least one run folder")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    from invkit import experiment
    from invkit.table import merge

    with _progress(device) as listener:
        tables = [experiment.evaluate(folder, overrides, device, listener) for folder in folders]
    text = _render(merge(tables), format_)
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
    from invkit.device import pick_device
    from invkit.progress import Shown

    shown = Shown(_console(), cpu=pick_device(device).type == "cpu")
    try:
        yield shown
    finally:
        shown.close()


def _render(table: dict[str, Any], form: str) -> str:
    from invkit.table import render

    text = render(table, form, shutil.get_terminal_size((120, 24)).columns)
    return text if text.endswith("\n") else text + "\n"


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "eval" / "table.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the table cannot be read ({error}); `invkit eval {folder}` makes it anew") from None


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


@plugins.command("check")
@click.argument("name")
@click.option("--draws", type=click.IntRange(min=1), default=10, show_default=True, help="Operators to try.")
@_plugin
@_json
def plugins_check(name: str, draws: int, plugins: tuple[str, ...], as_json: bool) -> None:
    """Check the mathematics and the conduct of the degradation NAME; exit code 4 where it fails."""
    from rich.console import Console

    from invkit.testing import check_degradation

    found = _registry(plugins)
    found.get("degradation", name)  # what is unknown is refused with a hint
    report = replace(check_degradation(found.degradations[name], draws=draws), degradation=name)
    if as_json:
        _print(report.as_dict())
    else:
        Console().print(report)
    report.raise_for_failures()


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
    error = _exhausted(error) or _forbidden(error) or error
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


def _forbidden(error: BaseException) -> RecipeError | None:
    """The same error as one of a path that was given, where the system refuses it."""
    refused = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
    if isinstance(error, OSError) and error.filename and error.errno in refused:
        return RecipeError(f"{error.filename}: {error.strerror}; give a path that can be used")
    return None


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """One line of a warning, without the source code that Python shows."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    warnings.showwarning = _warn
    try:
        code = cli.main(arguments, prog_name="invkit", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = _complain(error)
    sys.exit(code if isinstance(code, int) else 0)
