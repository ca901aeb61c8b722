"""`invkit reconstruct`: posterior mean, samples, standard deviation and intervals of each input, written to a folder."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from invkit.core.errors import DataError, RecipeError
from invkit.core.files import locked, make_folder, write_json
from invkit.core.grid import Grid
from invkit.core.progress import Progress
from invkit.data.listing import UNREAD, image_names, unread_note
from invkit.diffusion.tiling import Tiles, blind_tile
from invkit.evaluation.metrics import METRICS, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.experiment.inference.image_files import POINTS, InputFile, find_inputs
from invkit.experiment.inference.infer import Notify, infer
from invkit.experiment.inference.kept import Kept, input_digest, run_digest
from invkit.experiment.inference.measured_files import ARRAYS
from invkit.experiment.inference.output_files import Result, write_outputs
from invkit.experiment.inference.prepare import PreparedInput, measure_input, prepare
from invkit.experiment.inference.request import Options, Request
from invkit.experiment.trained_model import Trained
from invkit.physics.gaussian.kriging import solvable
from invkit.physics.gaussian.points import exact
from invkit.physics.measurement import Measurement
from invkit.physics.noise import facts
from invkit.physics.operators.points import PointValues
from invkit.physics.points import binned
from invkit.reconstructors.calibration import Calibration
from invkit.reconstructors.posterior import Posterior

SCHEMA = "invkit.reconstruct/1"
RECORD = "reconstruct.json"
INTERVAL = 90  # per cent
WHOLE = 2  # images of at most this multiple of the training grid are reconstructed as a whole


def reconstruct(
    trained: Trained, run: str, inputs: Sequence[Path], out: Path, options: Options, notify: Notify,
    meter: Callable[[str], Progress] = lambda label: lambda done, total: None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Reconstruct every input into `out`; yield its entry of `reconstruct.json` when its files are written.

    All inputs are prepared before the first is reconstructed. What an earlier call with the same inputs, options and weights has
    finished is kept. `meter` makes the progress function of a file. Raises RecipeError for wrong options and DataError for
    wrong inputs. The same inputs, options and weights give the same bytes.
    """
    files = find_inputs(inputs, ARRAYS if options.measured else POINTS)
    if options.mask is not None and all(file.holds_numbers for file in files):
        raise RecipeError("--mask is for images, and no input is one; leave it out")
    if options.measured and options.span is not None and not any(file.holds_numbers for file in files):
        raise RecipeError("--range with --measured is for arrays, and no input is of that kind; leave it out")
    for path in inputs:
        if path.is_dir() and (note := unread_note(image_names(path, UNREAD))):
            notify(f"{path}: {note}")
    request = Request.of(trained, options)
    _claim(out, inputs)
    with locked(out):
        before = _earlier(out)
        prepared_inputs = [prepare(request, file) for file in files]
        digest = run_digest(request)
        sampler = trained.recipe.registry.name_of(request.settings.method)
        record = {
            "schema": SCHEMA, "run": run, "step": trained.step, "samples": options.samples, "seed": options.seed,
            "sampler": sampler, "steps": request.settings.steps,
        }  # fmt: skip
        outputs: list[dict[str, Any]] = []
        write_json(out / RECORD, record | {"outputs": outputs})  # identifies the folder as an output of this command
        for prepared in prepared_inputs:
            old = before.get(prepared.file.name)
            if old is not None and os.path.abspath(old) != os.path.abspath(str(prepared.file)):
                notify(f"{prepared.file}: replaces {out / prepared.file.name}, the reconstruction of {old}")
            outputs.append(_reconstruct_one(request, digest, prepared, out, notify, meter))
            write_json(out / RECORD, record | {"outputs": outputs})
            yield outputs[-1]


def _earlier(out: Path) -> dict[str, str]:
    """The inputs of the reconstructions that the folder holds, by the name of their outputs."""
    try:
        outputs = json.loads((out / RECORD).read_text("utf-8"))["outputs"]
        return {output["name"]: output["input"] for output in outputs}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _claim(out: Path, inputs: Sequence[Path]) -> None:
    """Make the output folder. Raises RecipeError if it lies in an input folder or contains other files."""
    for path in inputs:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise RecipeError(f"{out} lies in the input folder {path}; give another folder with --out DIR")
    if out.exists() and not (out / RECORD).is_file() and any(p.name[0] != "." for p in out.iterdir()):
        raise RecipeError(
            f"{out} is not empty and contains no earlier reconstructions; give another folder with --out DIR"
        )
    make_folder(out)


def _reconstruct_one(
    request: Request, digest: str, prepared: PreparedInput, out: Path, notify: Notify, meter: Callable[[str], Progress]
) -> dict[str, Any]:
    """Measure, reconstruct, score and write one input; return its entry in `reconstruct.json`."""
    file = prepared.file
    measurement, truth = measure_input(request, prepared)
    cells = binned(measurement)
    tiles = plan_tiles(request, file, cells)
    entry: dict[str, Any] = {
        "input": str(file), "name": file.name, "grid": list(prepared.grid.shape), "tiles": tiles and len(tiles),
        "observed": None if cells.observed is None else int(cells.observed.sum()),
        "degraded_by": None if truth is None else request.degradation, "noise": facts(measurement.noise),
        "measured": prepared.y_shape and list(prepared.y_shape), "range": [prepared.unit.low, prepared.unit.high],
    }  # fmt: skip
    if request.options.calibrated:
        entry["calibration"] = vars(request.calibration(prepared.grid))
    kept = Kept(out, file.name, input_digest(digest, file.name, measurement, entry))
    if (finished := kept.entry()) is not None:
        notify(f"{file}: finished by an earlier call with the same input, options and weights")
        return finished
    if truth is not None:
        notify(
            f"{file}: degraded with the recipe's {request.degradation}; if it is degraded already, give --mask FILE for a mask, or "
            "--measured for values that this operator measured"
        )
    elif prepared.y_shape:
        shape = "x".join(map(str, prepared.y_shape))
        notify(f"{file}: {shape} values measured by {request.degradation} on {prepared.grid}")
    if isinstance(measurement.operator, PointValues) and (tiles or not exact(measurement)):
        notify(
            f"{file}: the points are moved to the centres of their cells ({'tiles' if tiles else 'they are too many'})"
        )
    if cells.observed is not None:
        notify(f"{file}: {_observed_share(request, cells)}")
    if tiles is None and not _kriging_is_dense(cells):
        notify(
            f"{file}: the mask has more observed pixels than exact kriging can solve, so the standard deviation is unreliable; "
            "give a coarser --grid N"
        )
    for note in prepared.points.notes if prepared.points else ():
        notify(f"{file}: {note}")
    mode = f"{len(tiles)} tiles of {tiles.grid}" if tiles else "whole image"
    notify(f"{file}: {request.options.samples} samples on {prepared.grid}, {mode}")
    posterior = infer(request, file, measurement, tiles is not None, kept, notify, meter(str(file)))
    if truth is not None:
        entry["scores"] = scores(truth, posterior)
        notify(f"{file}: " + ", ".join(f"{name} {value:.4g}" for name, value in entry["scores"].items()))
    interval = _interval(request, posterior, entry, notify)
    result = Result(posterior, truth, interval, prepared.unit, prepared.points.columns if prepared.points else None)
    entry |= write_outputs(out, file.name, result)
    kept.finish(entry)
    return entry


def _interval(
    request: Request, posterior: Posterior, entry: dict[str, Any], notify: Notify
) -> tuple[Tensor, Tensor] | None:
    """The interval to write, recorded in `entry`; with --calibrated the line that is printed states what it promises."""
    if not request.options.calibrated:
        try:
            interval = posterior.interval(INTERVAL)
        except ValueError as error:
            notify(f"{entry['name']}: {error}")
            interval = None
        entry["interval"] = None if interval is None else INTERVAL
        return interval
    found = Calibration(**entry["calibration"])
    promise = found.promise("hidden pixels" if posterior.measurement.observed is not None else "pixels")
    notify(f"{entry['input']}: {promise}")
    entry |= {"interval": found.percent, "promise": promise}
    return posterior.interval(found.percent, calibrated=True)


def _observed_share(request: Request, measurement: Measurement) -> str:
    """The share of the pixels that a mask observes, in words, with a hint if the mask seems to be inverted."""
    assert measurement.observed is not None
    share = float(measurement.observed.double().mean())
    text = f"{_percent(share)} of the pixels are observed"
    ranges = request.trained.model.constants.training_ranges
    if request.mask is None or ranges is None:
        return text
    low, high = ranges[0].tolist()
    usual = (low + high) / 2
    if not low <= share <= high and abs(1 - share - usual) < abs(share - usual):
        text += f" (in training about {_percent(usual)}); if white pixels are missing ones, give --invert-mask"
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def plan_tiles(request: Request, file: InputFile, measurement: Measurement) -> Tiles | None:
    """The tiles of a tiled reconstruction; None for a whole-image one. Raises DataError if --tiles is not possible."""
    requested, grid, side = request.options.tiles, measurement.grid, request.trained.model.constants.reference
    if requested is False or (requested is None and min(grid.shape) <= WHOLE * side):
        return None
    tiles = Tiles.of(grid, side)
    if measurement.observed is None:
        if requested:
            raise DataError(f"{file}: tiles require a mask, and {request.degradation} is none; leave --tiles out")
        return None
    if (blind := blind_tile(measurement, tiles)) is None:
        return tiles
    if requested:
        raise DataError(
            f"{file}: the tile of {tiles.grid} cells at row {blind[0]}, column {blind[1]} has no observed pixel; leave --tiles out"
        )
    return None


def _kriging_is_dense(measurement: Measurement) -> bool:
    """Whether dense kriging, which gives the exact standard deviation of the initial estimate, can solve a mask."""
    if measurement.observed is None:
        return True
    observed, (height, width) = int(measurement.observed.sum()), measurement.grid.shape
    values = min(observed, height * width - observed if measurement.noise.noiseless else observed)
    return solvable(values, Grid(height, width, 1))  # kriging solves each channel separately


def scores(truth: Tensor, posterior: Posterior) -> dict[str, float]:
    """PSNR of the posterior mean and CRPS of the samples, as in the table; undefined values are omitted."""
    values: dict[str, float] = {}
    rows: list[tuple[str, Readout, Tensor, Tensor | None]] = [
        ("psnr", "mean", posterior.mean, None), ("crps", "sample", posterior.samples[0], posterior.samples),
    ]  # fmt: skip
    for name, readout, estimate, samples in rows:
        metric = METRICS[name]()
        try:
            parts = metric.components(Outcome(truth, posterior.measurement, readout, estimate, samples))
        except Unavailable:
            continue
        with np.errstate(invalid="ignore"):
            value = float(metric.reduce({key: part.numpy().mean() for key, part in parts.items()}))
        if np.isfinite(value):
            values[name] = float(f"{value:.6g}")
    return values
