"""`invkit reconstruct`."""

import json
from functools import partial
from pathlib import Path

import click

from invkit.cli.options import device_name, json_output, plugin_files, quietly
from invkit.core.errors import Interrupted
from invkit.core.signals import stop_requests


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Output folder.")
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    help="Image that is white at observed pixels; the inputs are degraded already.",
)
@click.option(
    "--invert-mask", is_flag=True, help="The mask is white at missing pixels, as in photo editors and OpenCV."
)
@click.option(
    "--measured",
    is_flag=True,
    help="The inputs are what the recipe's operator measured: images, or arrays in .npy or .npz files.",
)
@click.option(
    "--grid",
    metavar="N|HxW|picture",
    help="Grid of the reconstruction.  [default: picture; for points, the training grid]",
)
@click.option(
    "--tiles/--whole",
    default=None,
    help="Overlapping tiles, or the whole image at once.  [default: tiles for large masked images]",
)
@click.option(
    "--samples", type=click.IntRange(1, 999), default=19, show_default=True, help="Number of posterior samples."
)
@click.option("--sampler", metavar="NAME", help="Sampler, such as heun or dpmpp-2m.  [default: that of the recipe]")
@click.option("--steps", type=click.IntRange(1, 10_000), help="Steps of the sampler.  [default: those of the recipe]")
@click.option("--calibrated", is_flag=True, help="Write the calibrated interval of the run, and what it promises.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of masks, noise and samples.")
@click.option(
    "--range",
    "span",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Values of the inputs that mean -1 and 1, in which results are too.  [default: those of the run]",
)
@device_name
@plugin_files
@json_output
@quietly
def reconstruct(
    run: Path,
    inputs: tuple[Path, ...],
    out: Path,
    mask: Path | None,
    invert_mask: bool,
    measured: bool,
    grid: str | None,
    tiles: bool | None,
    samples: int,
    sampler: str | None,
    steps: int | None,
    calibrated: bool,
    seed: int,
    span: tuple[float, float] | None,
    device: str,
    plugins: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Reconstruct images or points with a trained RUN. Prints the output folder of each.

    INPUT is an image, a folder of images, or points: a .csv with the header x,y,r,g,b (or x,y,temperature) or an .npz with
    coordinates (N, 2) and values (N, C). Without --mask or --measured, images are first degraded as the recipe defines.
    """
    try:
        with stop_requests():
            from invkit.core.progress import TextProgress
            from invkit.experiment.inference.job import Options
            from invkit.experiment.inference.job import reconstruct as reconstruct_files
            from invkit.experiment.run import load
            from invkit.plugins.loader import registry

            trained = load(run, device, registry(plugins))
            options = Options(mask, invert_mask, measured, grid, tiles, samples, seed, sampler, steps, calibrated, span)
            outputs = []
            show = (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))
            progress = partial(TextProgress, write=show) if quiet else TextProgress
            for output in reconstruct_files(trained, run.name, inputs, out, options, show, progress):
                outputs.append(output)
                if not as_json:
                    click.echo(out / output["name"])
            if as_json:
                click.echo(
                    json.dumps({"schema": "invkit.reconstruct/1", "out": str(out), "outputs": outputs}, indent=2)
                )
    except Interrupted:
        raise Interrupted("stopped; the files written so far are complete, and the same command goes on") from None
