"""The gallery of the report: measurement, truth, and estimates, error and standard deviation of every method, image by image."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from invkit.evaluation.cases import Estimates, Examples
from invkit.evaluation.report.images import heat_png, image_png, measured_png, scale_png
from invkit.physics.measurement import Measurement

LARGEST = 256  # largest side of an image; larger ones are reduced by whole factors
TOP = 0.995  # share of the pixels below the end of the colour scale


@dataclass(frozen=True)
class Panel:
    """An image of the page as a data address; `address` is None where there is nothing to show."""

    caption: str
    address: str | None
    alt: str


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64," + b64encode(data).decode()


def gallery(shown: Examples) -> dict[str, Any]:
    """What the template needs of one grid: the rule, width of an image, colour scale, and the panels of every case."""
    height, width = shown.truth.shape[-2:]
    step = -(-max(height, width) // LARGEST)
    errors = {name: _error(one.mean, shown.truth) for name, one in shown.estimates.items()}
    deviations = {name: _deviation(one, shown.measurement) for name, one in shown.estimates.items()}
    values = [x.flatten().numpy() for x in (*errors.values(), *deviations.values()) if x is not None]
    top = float(np.quantile(np.concatenate(values), TOP)) if values else 0.0
    top = top or 1.0

    def panels(b: int, case: str) -> Iterator[tuple[str, str, list[Panel]]]:
        def panel(caption: str, png: bytes | None, label: str) -> Panel:
            return Panel(caption, None if png is None else uri(png), f"{label} of {case}")

        measured, truth = measured_png(shown.measurement[b : b + 1], step), image_png(shown.truth[b], step)
        yield "", "", [panel("measured", measured, "measurement"), panel("truth", truth, "true image")]
        for name, one in shown.estimates.items():
            deviation, sample = deviations[name], one.sample
            yield name, shown.cases[b].scores.get(name, ""), [
                panel("estimate", image_png(one.mean[b], step), f"{name}: estimate"),
                panel("sample", None if sample is None else image_png(sample[b], step), f"{name}: sample"),
                panel("error", heat_png(errors[name][b] / top, step), f"{name}: absolute error of the estimate"),
                panel(
                    "deviation",
                    None if deviation is None else heat_png(deviation[b] / top, step),
                    f"{name}: standard deviation of the samples",
                ),
            ]  # fmt: skip

    cases = []
    for b, case in enumerate(shown.cases):
        label = f"image {case.image}"
        cases.append({"label": label, "why": case.why, "columns": list(panels(b, label))})
    return {
        "rule": shown.rule, "cases": cases, "width": -(-width // step), "columns": 1 + len(shown.estimates),
        "scale": uri(scale_png()), "top": f"{top:.2g}", "checkerboard": shown.measurement.observed is not None,
    }  # fmt: skip


def _error(
    mean: Tensor,  # (B, C, H, W)
    truth: Tensor,  # (B, C, H, W)
) -> Tensor:  # (B, H, W), on [0, 1]
    return (mean - truth).double().div(2).square().mean(1).sqrt()


def _deviation(one: Estimates, measurement: Measurement) -> Tensor | None:
    """The standard deviation of the samples on [0, 1], (B, H, W); 0 where the value is known exactly."""
    if one.std is None:
        return None
    std = one.std if measurement.exact is None else one.std * ~measurement.exact
    return std.double().div(2).square().mean(1).sqrt()
