"""Output files of `invkit reconstruct`: the arrays of one input as an .npz, and a folder of PNG images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.files import write_atomic
from invkit.evaluation.report.images import deviation_png, image_png, measured_png, sample_sheet
from invkit.physics.operators.points import PointValues
from invkit.reconstructors.posterior import Posterior

SHOWN = 4  # samples saved as images; all are in the .npz
Interval = tuple[Tensor, Tensor]  # lower and upper end, (1, C, H, W) each


def write_outputs(
    out: Path, name: str, posterior: Posterior, truth: Tensor | None, interval: Interval | None
) -> dict[str, Any]:
    """Write `NAME.npz` and `NAME/*.png` atomically; return the part of the record that describes them."""
    images, scale = _images(posterior, truth, interval)
    for stem, data in images.items():
        write_atomic(out / name / f"{stem}.png", data)
    for old in (out / name).glob("*.png"):  # written by an earlier call with more samples
        if old.stem not in images:
            old.unlink()
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **_arrays(posterior, interval))  # dates every entry 1980-01-01
    write_atomic(out / f"{name}.npz", packed.getvalue())
    return {
        "deviation_scale": scale, "arrays": f"{name}.npz", "pictures": [f"{name}/{stem}.png" for stem in images],
    }  # fmt: skip


def _images(
    posterior: Posterior, truth: Tensor | None, interval: Interval | None
) -> tuple[dict[str, bytes], float | None]:
    """PNG images by name, and the standard deviation at the brightest colour of `deviation.png`."""
    measurement, mean, samples = posterior.measurement, posterior.mean, posterior.samples
    images = {"measured": measured_png(measurement), "mean": image_png(mean[0])}
    images |= {f"sample_{k + 1}": image_png(x[0]) for k, x in enumerate(samples[:SHOWN])}
    deviation = posterior.deviation if len(samples) > 1 else None
    scale = None
    if deviation is not None:
        images["deviation"], scale = deviation_png(deviation[0])
    if interval is not None:
        images |= {"lower": image_png(interval[0][0]), "upper": image_png(interval[1][0])}
    images["sheet"] = sample_sheet(truth, measurement, None, mean, samples, deviation)
    return images, scale


def _arrays(posterior: Posterior, interval: Interval | None) -> dict[str, NDArray[Any]]:
    arrays = {"mean": posterior.mean[0], "samples": posterior.samples[:, 0], "y": posterior.measurement.y[0]}
    if isinstance(operator := posterior.measurement.operator, PointValues):
        arrays |= {"coordinates": operator.coordinates[0], "values": arrays.pop("y").T}
    if posterior.measurement.observed is not None:
        arrays["observed"] = posterior.measurement.observed[0]
    if len(posterior.samples) > 1:
        arrays["deviation"] = posterior.deviation[0]
    if interval is not None:
        arrays |= {"lower": interval[0][0], "upper": interval[1][0]}
    return {key: x.numpy() if x.dtype == torch.bool else x.float().numpy() for key, x in arrays.items()}
