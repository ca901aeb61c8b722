"""Options and helpers shared by the commands."""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from invkit.core.errors import Interrupted, InvkitError, to_user_error
from invkit.recipe.read import installed, read_recipe

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.plugins.registry import Registry
    from invkit.recipe.recipe import Recipe

plugin_files = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(exists=True, dir_okay=False), help="Load a plugin file (.py)."
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quietly = click.option("-q", "--quiet", is_flag=True, help="Print results, warnings and errors only.")
device_name = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto: on a GPU if there is one.",
)


def recipe_names(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """What a shell completes a recipe to: the installed ones, and files."""
    names = [CompletionItem(name) for name in installed() if name.startswith(text)]
    return [*names, CompletionItem(text, type="file")]


def load_registry(plugins: Sequence[str]) -> "Registry":
    from invkit.plugins.loader import registry

    return registry(tuple(plugins))


def load_recipe(recipe: str, overrides: Sequence[str], plugins: Sequence[str]) -> "Recipe":
    read_recipe(recipe)  # a missing file or invalid YAML is reported before torch is imported
    from invkit.recipe import recipe as module

    return module.load_recipe(recipe, overrides, load_registry(plugins))


def load_run(folder: Path, overrides: Sequence[str], plugins: Sequence[str]) -> "Recipe":
    """The recipe of a run folder."""
    from invkit.experiment.run_folder import RunFolder

    return RunFolder.open(folder, tuple(overrides), load_registry(plugins))[1]


def print_result(value: Any) -> None:
    """Print a text as it is, anything else as JSON."""
    click.echo(value if isinstance(value, str) else json.dumps(value, indent=2, default=str))


def _usage(error: click.ClickException) -> str:
    """A mistake on the command line in one line, with the command that explains it."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption) and "." in error.option_name:
        return f"{message} Settings of a recipe have no dashes: {error.option_name.lstrip('-')}=VALUE"
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message.rstrip('.')}; `{context.command_path} --help` explains"


def report_error(error: BaseException) -> int:
    """Print an error and return its exit code."""
    if os.environ.get("INVKIT_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        click.echo(f"error: {_usage(error)}", err=True)
        return error.exit_code
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    if isinstance(error, BrokenPipeError):  # the reader of stdout has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    error = to_user_error(error)
    if not isinstance(error, InvkitError):
        traceback.print_exception(error)
        click.echo("error: this is a bug in invkit or in a plugin; see the traceback above", err=True)
        return 1
    for line in str(error).splitlines():
        click.echo(line if isinstance(error, Interrupted) else f"error: {line}", err=True)
    return error.exit_code
