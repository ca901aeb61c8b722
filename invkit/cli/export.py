"""`invkit export`."""

from pathlib import Path

import click

from invkit.cli.options import load_registry, plugin_files


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, stored in the file.")
@plugin_files
def export(run: Path, file: Path, force: bool, licence: str, plugins: tuple[str, ...]) -> None:
    """Write the model of a trained RUN as one FILE (.safetensors), which every command takes in place of a run folder.

    It holds the averaged weights in half precision, the recipe, and the tables of the run, but no path of this machine.
    """
    from invkit.experiment.export import export as export_run

    model, note = export_run(run, file, licence=licence, force=force, registry=load_registry(plugins))
    if note:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{model.given}: {file.stat().st_size / 1e6:.1f} MB")
