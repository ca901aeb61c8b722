"""`invkit validate` and `invkit show`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from invkit.cli.options import complain, load_recipe_of, plugin_files, registry_of
from invkit.core.errors import InvkitError

if TYPE_CHECKING:  # these import torch, which takes seconds
    from invkit.plugins.registry import Registry


@click.command()
@click.argument("recipes", nargs=-1, metavar="RECIPE...")
@click.option(
    "--schema",
    is_flag=False,
    flag_value="-",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write the JSON schema of recipes over all installed plugins, for editors.  [default: stdout]",
    metavar="[FILE]",
)
@plugin_files
@click.pass_context
def validate(context: click.Context, recipes: tuple[str, ...], schema: str | None, plugins: tuple[str, ...]) -> None:
    """Check recipes and name all of their mistakes."""
    if schema:
        _write_schema(schema, registry_of(plugins))
    elif not recipes:
        raise click.UsageError("name at least one recipe")
    codes = [0]
    for recipe in recipes:
        try:
            load_recipe_of(recipe, (), plugins)
            click.echo(f"{recipe}: ok")
        except InvkitError as error:
            codes.append(complain(error))
    context.exit(max(codes))


def _write_schema(file: str, registry: "Registry") -> None:
    from invkit.core.files import write_atomic
    from invkit.recipe.schema import schema_text

    for failure in registry.failures:
        click.echo(f"warning: left out: {failure}", err=True)
    text = schema_text(registry)
    if file == "-":
        click.echo(text, nl=False)
    else:
        write_atomic(Path(file), text)


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@plugin_files
def show(recipe: str, overrides: tuple[str, ...], plugins: tuple[str, ...]) -> None:
    """Print a recipe with every setting that it leaves to its default."""
    click.echo(load_recipe_of(recipe, overrides, plugins).dump(), nl=False)
