"""The command line: prints and exit codes only. Results go to stdout, everything else to stderr."""

import contextlib
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

from invkit.clioptions import device_name as _device
from invkit.clioptions import json_output as _json
from invkit.clioptions import plugin_files as _plugin
from invkit.clireconstruct import reconstruct
from invkit.errors import DataError, InvkitError, PluginError, RecipeError, explained
from invkit.lookup import read_recipe
from invkit.signals import stop_requests

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.experiment import Listener
    from invkit.plugins import Registry
    from invkit.recipe import Recipe


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


cli.add_command(reconstruct)


@cli.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/<recipe>]")
@_device
@click.option("--fresh", is_flag=True, help="Begin anew; a run folder that exists is renamed.")
@click.option("--smoke", is_flag=True, help="The whole recipe in seconds, on few pictures and steps.")
@click.option("--profile", is_flag=True, help="Print where the time of a training step goes, and nothing else.")
@click.option("--nproc", type=click.IntRange(min=1), default=1, help="Processes on this machine, one for each GPU.")
@_plugin
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
        loaded = _load(recipe, overrides, plugins)
        from invkit import distributed, experiment

        if profile:
            from invkit.profiling import profile_text

            click.echo(profile_text(experiment.profile(loaded, device), loaded.train.batch), nl=False)
            return
        if nproc > 1 and "WORLD_SIZE" not in os.environ:
            raise click.exceptions.Exit(distributed.launch([sys.executable, "-m", "invkit", *sys.argv[1:]], nproc))
        with _progress(device) as listener:
            folder = experiment.run(loaded, out=out, device=device, fresh=fresh, smoke=smoke, listener=listener)
        if not distributed.speaks():
            return
        click.echo(_render(_saved(folder), "table"), nl=False)
    _console().print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@cli.command("eval")
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv", "md", "html"]), default="table")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
@click.option("--from-saved", is_flag=True, help="From the stored reconstructions, without the model.")
@_device
@_plugin
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
    from invkit import distributed, experiment
    from invkit.merging import merge, per_image

    with _progress(device) as listener:
        registry = _registry(plugins)
        tables = [experiment.evaluate(folder, overrides, device, listener, registry, from_saved) for folder in folders]
    if not distributed.speaks():
        return
    # Figures of each picture are those of the runs' own tables.
    whole = len(folders) > 1 and not overrides and not from_saved
    text = _render(merge(tables, [per_image(folder / "eval") for folder in folders] if whole else ()), format_)
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
@click.argument("recipes", nargs=-1, metavar="RECIPE...")
@click.option(
    "--schema",
    is_flag=False,
    flag_value="-",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write the JSON schema of recipes over all installed plugins, for editors.  [default: stdout]",
    metavar="[FILE]",
)
@_plugin
@click.pass_context
def validate(context: click.Context, recipes: tuple[str, ...], schema: str | None, plugins: tuple[str, ...]) -> None:
    """Check recipes and name all of their mistakes."""
    if schema:
        _write_schema(schema, _registry(plugins))
    elif not recipes:
        raise click.UsageError("name at least one recipe")
    codes = [0]
    for recipe in recipes:
        try:
            loaded = _load(recipe, (), plugins)
            from invkit.determinism import warn_of_strictness

            warn_of_strictness(loaded)
            click.echo(f"{recipe}: ok")
        except InvkitError as error:
            codes.append(_complain(error))
    context.exit(max(codes))


def _write_schema(file: str, registry: "Registry") -> None:
    from invkit.files import write_atomic
    from invkit.schema import schema_text

    for failure in registry.failures:
        click.echo(f"warning: left out: {failure}", err=True)
    text = schema_text(registry)
    if file == "-":
        click.echo(text, nl=False)
    else:
        write_atomic(Path(file), text)


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
@_json
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List, describe, check and begin what recipes can name."""
    if context.invoked_subcommand is None:
        context.invoke(plugins_list, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json comes after {context.invoked_subcommand}")


@plugins.command("list")
@_plugin
@_json
def plugins_list(plugins: tuple[str, ...] = (), as_json: bool = False) -> None:
    """List what plugins provide, the core's own included: kind, distribution, version and state (ok, failed, conflict)."""
    from invkit.inventory import listing, listing_text

    found = listing(_registry(plugins))
    _print(found if as_json else listing_text(found))


@plugins.command("show")
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Where to save it.  [default: NAME.png]"
)
@_plugin
@_json
def plugins_show(
    name: str, overrides: tuple[str, ...], picture: Path | None, plugins: tuple[str, ...], as_json: bool
) -> None:
    """Describe the settings of NAME, anything that a recipe can choose, and save a picture of a degradation at work.

    KEY=VALUE are its settings in the picture.
    """
    from invkit.inventory import description_text, descriptions

    registry = _registry(plugins)
    found = descriptions(registry, name)
    said = _preview(registry, name, overrides, picture, found)
    _print(found if as_json else description_text(found))
    for line in said:
        click.echo(line, err=True)


def _preview(
    registry: "Registry", name: str, overrides: Sequence[str], file: Path | None, found: list[dict[str, Any]]
) -> list[str]:
    """Save the picture of a degradation, note its path in its description, and return what to say of it."""
    wanted = bool(overrides or file)
    item = next((item for item in found if item["kind"] == "degradation"), None)
    if item is None:
        if wanted:
            raise click.UsageError(
                f"{name} is no degradation: there is no picture of it, and it takes no KEY=VALUE here"
            )
        return []
    from invkit.preview import save_preview

    item["picture"] = None
    try:
        item["picture"] = str(save_preview(registry, name, overrides, file))
    except (RecipeError, PluginError) as error:
        if wanted:
            raise
        reason = "; ".join(line.partition(f"command line: {name}: ")[2] or line for line in str(error).splitlines())
        return [f"no picture: {reason} (as in `invkit plugins show {name} KEY=VALUE`)"]
    return [f"picture: {item['picture']}"]


@plugins.command("new")
@click.argument("name")
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
def plugins_new(name: str, folder: Path | None) -> None:
    """Write a complete distribution with a degradation NAME into DIR.  [default: invkit-NAME]"""
    from invkit.scaffold import names, new_plugin

    words = names(name)
    made = new_plugin(name, folder, _registry(()), _version())
    click.echo(made)
    click.echo(
        f"next: cd {made} && pip install -e '.[test]' && invkit plugins check {words['name']} && "
        f"invkit run recipes/{words['stem']}.yaml --smoke",
        err=True,
    )


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
    report = replace(check_degradation(found.get("degradation", name), draws=draws), degradation=name)
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
    error = explained(error)
    if not isinstance(error, InvkitError):
        traceback.print_exception(error)
        click.echo("error: this is a bug in invkit or in a plugin; the lines above say where", err=True)
        return 1
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
    return error.exit_code


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """One line of a warning, without the source code that Python shows."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    warnings.showwarning = _warn
    # These libraries read the metadata of all distributions when they are imported, and fail where one is damaged.
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = cli.main(arguments, prog_name="invkit", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = _complain(error)
    sys.exit(code if isinstance(code, int) else 0)
