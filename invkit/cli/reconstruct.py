"""The command `invkit reconstruct`."""

import json
from pathlib import Path

import click

from invkit.cli.options import device_name, json_output, plugin_files
from invkit.core.errors import Interrupted
from invkit.core.signals import stop_requests


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option(
    "--mask", type=click.Path(path_type=Path), help="The pictures are degraded already: seen where it is white."
)
@click.option(
    "--grid", metavar="N|HxW|picture", help="Cells to rebuild.  [default: picture; of points, the trained grid]"
)
@click.option(
    "--tiles/--whole", default=None, help="By overlapping tiles, or at once.  [default: large masked pictures]"
)
@click.option("--samples", type=click.IntRange(1, 999), default=19, show_default=True, help="Posterior samples.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of masks, noise and samples.")
@click.option(
    "--range", "span", type=float, nargs=2, metavar="LOW HIGH", help="Of the values of points.  [default: -1 1]"
)
@device_name
@plugin_files
@json_output
def reconstruct(
    run: Path,
    inputs: tuple[Path, ...],
    out: Path,
    mask: Path | None,
    grid: str | None,
    tiles: bool | None,
    samples: int,
    seed: int,
    span: tuple[float, float] | None,
    device: str,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rebuild pictures or points of your own with the trained RUN; print a folder for each.

    INPUT is a picture, a folder of pictures, or points: a .csv with the header x,y,r,g,b (or x,y,grey) or an .npz with
    coordinates (N, 2) and values (N, C). Without --mask pictures are degraded first, as the recipe says.
    """
    try:
        with stop_requests():
            from invkit.experiment.inference.job import Options
            from invkit.experiment.inference.job import reconstruct as start
            from invkit.experiment.run import load
            from invkit.plugins.loader import registry

            trained = load(run, device, registry(plugins))
            options = Options(mask, grid, tiles, samples, seed, span)
            outputs = []
            for output in start(trained, run.name, inputs, out, options, lambda text: click.echo(text, err=True)):
                outputs.append(output)
                if not as_json:
                    click.echo(out / output["name"])
            if as_json:
                click.echo(
                    json.dumps({"schema": "invkit.reconstruct/1", "out": str(out), "outputs": outputs}, indent=2)
                )
    except Interrupted:
        raise Interrupted("stopped; what is written is whole, and the same command makes all of it again") from None
