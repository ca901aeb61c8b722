"""`invkit validate` and `invkit show`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from invkit.cli.options import load_recipe, load_registry, plugin_files, recipe_names, report_error
from invkit.core.errors import InvkitError

if TYPE_CHECKING:  # imports torch, which takes seconds
    from invkit.plugins.registry import Registry


@click.command()
@click.argument("recipes", nargs=-1, metavar="RECIPE... [KEY=VALUE]...", shell_complete=recipe_names)
@click.option(
    "--schema",
    is_flag=False,
    flag_value="-",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write the JSON schema of recipes, with all installed plugins, for editors.  [default: stdout]",
    metavar="[FILE]",
)
@plugin_files
@click.pass_context
def validate(context: click.Context, recipes: tuple[str, ...], schema: str | None, plugins: tuple[str, ...]) -> None:
    """Check recipes with the given overrides and print all errors: settings, operators on each grid, and data."""
    overrides = [text for text in recipes if "=" in text and not Path(text).exists()]
    recipes = tuple(text for text in recipes if text not in overrides)
    if schema:
        _write_schema(schema, load_registry(plugins))
    elif not recipes:
        raise click.UsageError("give at least one recipe")
    codes = [0]
    for recipe in recipes:
        try:
            loaded = load_recipe(recipe, overrides, plugins)
            loaded.check_operators()
            if note := loaded.check_data():
                click.echo(f"{recipe}: {note}", err=True)
            click.echo(f"{recipe}: ok")
        except InvkitError as error:
            codes.append(report_error(error))
    context.exit(max(codes))


def _write_schema(file: str, registry: "Registry") -> None:
    from invkit.core.files import write_atomic
    from invkit.recipe.schema import schema_text

    for failure in registry.failures:
        click.echo(f"warning: not in the schema: {failure}", err=True)
    text = schema_text(registry)
    if file == "-":
        click.echo(text, nl=False)
    else:
        write_atomic(Path(file), text)


@click.command()
@click.argument("recipe", shell_complete=recipe_names)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@plugin_files
def show(recipe: str, overrides: tuple[str, ...], plugins: tuple[str, ...]) -> None:
    """Print a recipe with all defaults written out, and where each value comes from."""
    click.echo(load_recipe(recipe, overrides, plugins).explained(), nl=False)
