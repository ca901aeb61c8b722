"""`invkit plugins`: list, show, new and check plugins."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invkit import __version__
from invkit.cli.options import echo, json_output, plugin_files, registry_of
from invkit.core.errors import PluginError, RecipeError

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.plugins.registry import Registry


@click.group(invoke_without_command=True)
@json_output
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List, describe, check and begin what recipes can name."""
    if context.invoked_subcommand is None:
        context.invoke(plugins_list, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json comes after {context.invoked_subcommand}")


@plugins.command("list")
@plugin_files
@json_output
def plugins_list(plugins: tuple[str, ...] = (), as_json: bool = False) -> None:
    """List what plugins provide, the core's own included: kind, distribution, version and state (ok, failed, conflict)."""
    from invkit.plugins.inventory import listing, listing_text

    found = listing(registry_of(plugins))
    echo(found if as_json else listing_text(found))


@plugins.command("show")
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Where to save it.  [default: NAME.png]"
)
@plugin_files
@json_output
def plugins_show(
    name: str, overrides: tuple[str, ...], picture: Path | None, plugins: tuple[str, ...], as_json: bool
) -> None:
    """Describe the settings of NAME, anything that a recipe can choose, and save a picture of a degradation at work.

    KEY=VALUE are its settings in the picture.
    """
    from invkit.plugins.inventory import description_text, descriptions

    registry = registry_of(plugins)
    found = descriptions(registry, name)
    said = _preview(registry, name, overrides, picture, found)
    echo(found if as_json else description_text(found))
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
    from invkit.experiment.preview import save_preview

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
    from invkit.plugins.scaffold import names, new_plugin

    words = names(name)
    made = new_plugin(name, folder, registry_of(()), __version__)
    click.echo(made)
    click.echo(
        f"next: cd {made} && pip install -e '.[test]' && invkit plugins check {words['name']} && "
        f"invkit run recipes/{words['stem']}.yaml --smoke",
        err=True,
    )


@plugins.command("check")
@click.argument("name")
@click.option("--draws", type=click.IntRange(min=1), default=10, show_default=True, help="Operators to try.")
@plugin_files
@json_output
def plugins_check(name: str, draws: int, plugins: tuple[str, ...], as_json: bool) -> None:
    """Check the mathematics and the conduct of the degradation NAME; exit code 4 where it fails."""
    from rich.console import Console

    from invkit.testing import check_degradation

    cls = registry_of(plugins).get("degradation", name)
    report = replace(check_degradation(cls, draws=draws), degradation=name)
    if as_json:
        echo(report.as_dict())
    else:
        Console().print(report)
    report.raise_for_failures()
