"""`invkit plugins`: list, describe, check and create plugins."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invkit import __version__
from invkit.cli.options import json_output, load_registry, plugin_files, print_result
from invkit.core.errors import PluginError, RecipeError

if TYPE_CHECKING:  # imports torch, which takes seconds
    from invkit.plugins.registry import Registry


KINDS = ("degradation", "dataset", "reconstructor", "metric", "noise", "sampler", "network", "prior")


@click.group(invoke_without_command=True)
@json_output
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List, describe, check and create plugins."""
    if context.invoked_subcommand is None:
        context.invoke(plugins_list, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json must follow {context.invoked_subcommand}")


@plugins.command("list")
@plugin_files
@json_output
def plugins_list(plugins: tuple[str, ...] = (), as_json: bool = False) -> None:
    """List all plugins, also built-in ones. Prints kind, distribution, version and state (ok, failed, conflict)."""
    from invkit.plugins.inventory import listing, listing_text

    report = listing(load_registry(plugins))
    print_result(report if as_json else listing_text(report))


@plugins.command("show")
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Path of the example image.  [default: NAME.png]"
)
@plugin_files
@json_output
def plugins_show(
    name: str, overrides: tuple[str, ...], picture: Path | None, plugins: tuple[str, ...], as_json: bool
) -> None:
    """Describe the settings of a plugin. For a degradation, also saves an example image.

    KEY=VALUE are settings of the degradation in the example image.
    """
    from invkit.plugins.inventory import description_text, descriptions

    registry = load_registry(plugins)
    items = descriptions(registry, name)
    messages = _preview(registry, name, overrides, picture, items)
    print_result(items if as_json else description_text(items))
    for message in messages:
        click.echo(message, err=True)


def _preview(
    registry: "Registry", name: str, overrides: Sequence[str], file: Path | None, items: list[dict[str, Any]]
) -> list[str]:
    """Save the example image of a degradation, add its path to the description, and return messages for the user.

    Raises UsageError if settings or a path are given for another kind of plugin.
    """
    requested = bool(overrides or file)
    item = next((item for item in items if item["kind"] == "degradation"), None)
    if item is None:
        if requested:
            raise click.UsageError(
                f"{name} is not a degradation: it has no example image, and --picture and KEY=VALUE do not apply"
            )
        return []
    from invkit.experiment.preview import save_preview

    item["picture"] = None
    try:
        item["picture"] = str(save_preview(registry, name, overrides, file))
    except (RecipeError, PluginError) as error:
        if requested:
            raise
        reason = "; ".join(line.partition(f"command line: {name}: ")[2] or line for line in str(error).splitlines())
        return [f"no example image: {reason} (set it with `invkit plugins show {name} KEY=VALUE`)"]
    return [f"example image: {item['picture']}"]


@plugins.command("new")
@click.argument("name")
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--kind", type=click.Choice(KINDS), default="degradation", show_default=True, help="What the plugin provides."
)
def plugins_new(name: str, folder: Path | None, kind: str) -> None:
    """Create a package with the plugin NAME in DIR.  [default: invkit-NAME]"""
    from invkit.plugins.scaffold import names, new_plugin

    package = names(name)
    path = new_plugin(name, folder, load_registry(()), __version__, kind)
    click.echo(path)
    click.echo(
        f"next: cd {path} && pip install -e '.[test]' && invkit plugins check {package['name']} && "
        f"invkit run recipes/{package['stem']}.yaml --smoke",
        err=True,
    )


@plugins.command("check")
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--draws", type=click.IntRange(min=1), default=10, show_default=True, help="Number of operators sampled.")
@click.option("--kind", metavar="KIND", help="Kind of the plugin, if several have this name.")
@plugin_files
@json_output
def plugins_check(
    name: str, overrides: tuple[str, ...], draws: int, kind: str | None, plugins: tuple[str, ...], as_json: bool
) -> None:
    """Run the conformance checks on a plugin. Exit code 4 if a check fails.

    NAME is a degradation, a data set, a method, a metric, a network, a noise law, a prior or a sampler, and KEY=VALUE are
    settings to check it with.
    """
    from rich.console import Console

    from invkit import testing
    from invkit.plugins.inventory import descriptions
    from invkit.recipe.resolve import resolve_one

    registry = load_registry(plugins)
    checks = {
        "dataset": testing.check_dataset, "method": testing.check_method, "metric": testing.check_metric,
        "network": testing.check_network, "noise": testing.check_noise, "prior": testing.check_prior,
        "sampler": testing.check_sampler,
    }  # fmt: skip
    kinds = [item["kind"] for item in descriptions(registry, name)]
    if not (found := [own for own in kinds if own in ("degradation", *checks) and kind in (None, own)]):
        other = f"no {kind}" if kind else "which plugins cannot provide; there are no checks for it"
        raise click.UsageError(f"{name} is a {' and a '.join(kinds)}, {other}")
    kind, others = found[0], found[1:]
    subject = resolve_one(registry, kind, name, overrides) if overrides else registry.get(kind, name)
    if kind == "degradation":
        report = replace(testing.check_degradation(subject, draws=draws), degradation=name)
    else:
        report = checks[kind](subject, name)
    if as_json:
        print_result(report.as_dict())
    else:
        Console().print(report)
    for other in others:
        click.echo(f"{name} is also a {other}: invkit plugins check {name} --kind {other}", err=True)
    report.raise_for_failures()
