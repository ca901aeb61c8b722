"""Output files of `invkit reconstruct`: the arrays of one input as an .npz, and a folder of PNG images."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.files import write_atomic
from invkit.evaluation.report.images import deviation_png, image_png, measured_png, sample_sheet
from invkit.experiment.inference.unit import PIXELS, Unit
from invkit.reconstructors.posterior import Posterior, write_npz

SHOWN = 4  # samples saved as images; all are in the .npz
Interval = tuple[Tensor, Tensor]  # lower and upper end, (1, C, H, W) each


@dataclass(frozen=True, eq=False)
class Result:
    """What is written of one input."""

    posterior: Posterior
    truth: Tensor | None  # (1, C, H, W)
    interval: Interval | None
    unit: Unit
    columns: tuple[str, ...] | None  # names of the values of points; None for other inputs


def write_outputs(out: Path, name: str, result: Result) -> dict[str, Any]:
    """Write `NAME.npz`, `NAME/*.png` and, for points, `NAME.csv` atomically; return the part of the record that describes them."""
    images, scale = _images(result)
    for stem, data in images.items():
        write_atomic(out / name / f"{stem}.png", data)
    for old in (out / name).glob("*.png"):  # written by an earlier call with more samples
        if old.stem not in images:
            old.unlink()
    arrays = _arrays(result)
    write_npz(out / f"{name}.npz", arrays)
    entry: dict[str, Any] = {
        "deviation_scale": scale, "arrays": f"{name}.npz", "pictures": [f"{name}/{stem}.png" for stem in images],
    }  # fmt: skip
    if result.columns is not None:
        write_atomic(out / f"{name}.csv", _csv(arrays, result.columns))
        entry |= {"columns": list(result.columns), "table": f"{name}.csv"}
    return entry


def _images(result: Result) -> tuple[dict[str, bytes], float | None]:
    """PNG images by name, and the standard deviation at the brightest colour of `deviation.png`, see docs/howto/reconstruct.md."""
    posterior, interval = result.posterior, result.interval
    measurement, mean, samples = posterior.measurement, posterior.mean, posterior.samples
    images = {"measured": measured_png(measurement), "mean": image_png(mean[0])}
    images |= {f"sample_{k + 1}": image_png(x[0]) for k, x in enumerate(samples[:SHOWN])}
    deviation = posterior.deviation if len(samples) > 1 else None
    own = result.columns is not None or result.unit != PIXELS
    span = (result.unit.low, result.unit.high) if own else None
    scale = None
    if deviation is not None:
        images["deviation"], scale = deviation_png(deviation[0])
        scale *= 1.0 if span is None else span[1] - span[0]
    if interval is not None:
        images |= {"lower": image_png(interval[0][0]), "upper": image_png(interval[1][0])}
    images["sheet"] = sample_sheet(result.truth, measurement, None, mean, samples, deviation, span=span)
    return images, scale


def _arrays(result: Result) -> dict[str, Tensor]:
    """The arrays of the .npz: those of the only image, in the unit of the input."""
    unit, posterior = result.unit, result.posterior
    arrays = {key: x[:, 0] if key == "samples" else x[0] for key, x in posterior.arrays().items()}
    if result.interval is not None:
        arrays |= {"lower": result.interval[0][0], "upper": result.interval[1][0]}
    for key in arrays.keys() & {"mean", "samples", "lower", "upper", "values"}:
        arrays[key] = unit.values(arrays[key])
    if "y" in arrays:
        arrays["y"] = unit.measured(posterior.measurement)[0]
    if "deviation" in arrays:
        arrays["deviation"] = unit.scale * arrays["deviation"]
    return arrays


def _csv(arrays: Mapping[str, Tensor], columns: tuple[str, ...]) -> str:
    """A row for each cell: coordinates of its centre, mean, standard deviation and interval of each channel."""
    kinds = {"mean": "mean", "std": "deviation", "lower": "lower", "upper": "upper"}
    _, height, width = arrays["mean"].shape
    rows, cells = np.indices((height, width)).reshape(2, -1)
    table: dict[str, NDArray[Any]] = {"x": (cells + 0.5) / width, "y": (rows + 0.5) / height}
    for c, column in enumerate(columns):
        for label, key in kinds.items():
            if key in arrays:
                table[label if len(columns) == 1 else f"{label}_{column}"] = arrays[key][c].flatten().numpy()
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table)
    writer.writerows([f"{x:.7g}" for x in row] for row in np.stack(list(table.values()), 1))
    return file.getvalue()
