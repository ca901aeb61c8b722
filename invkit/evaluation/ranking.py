"""The best method per metric, and those statistically tied with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.evaluation.bootstrap import LEAST, Bootstrap
from invkit.evaluation.metrics import Metric
from invkit.evaluation.results import MethodScores

# Distances of one image to the truth. Samples are not ranked by them: a smaller distance may mean too little spread.
PER_IMAGE_DISTANCES = frozenset({"psnr", "psnr_hidden", "ssim", "mae", "lpips"})
RULE = (
    "points and means are compared with each other, and samples with samples, by metrics with a preferred direction; "
    f"samples not by {', '.join(sorted(PER_IMAGE_DISTANCES))}; a row is tied with the best if the 95 % interval of the "
    f"paired difference includes 0; no ranks below {LEAST} groups"
)


def best(
    rows: Sequence[MethodScores],
    values: Sequence[Mapping[str, NDArray[np.float64]]],  # by row and metric: of all images, then without each group
    metrics: Mapping[str, Metric],
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """The best row and those tied with it, for each metric and kind of estimator with at least two comparable rows.

    Nothing for fewer than `LEAST` groups, which have no intervals.
    """
    entries: list[dict[str, Any]] = []
    if bootstrap.groups < LEAST:
        return entries
    for kind, readouts in (("mean", ("point", "mean")), ("sample", ("sample",))):
        for name, metric in metrics.items():
            if metric.better is None or (kind == "sample" and name in PER_IMAGE_DISTANCES):
                continue
            candidates = [
                (row, own[name])
                for row, own in zip(rows, values, strict=True)
                if row.readout in readouts and name in own and np.isfinite(own[name][0])
            ]
            if len(candidates) < 2:
                continue
            sign = 1 if metric.better == "higher" else -1
            top, top_values = max(candidates, key=lambda pair: sign * pair[1][0])
            tied = []
            for row, own in candidates:
                low, high = bootstrap.interval(own - top_values)
                if row is not top and (low is None or high is None or low <= 0 <= high):
                    tied.append(_named(row))
            entries.append({"compared": kind, "metric": name, "best": _named(top), "alike": tied})
    return entries


def _named(row: MethodScores) -> dict[str, str]:
    return {"method": row.method.name, "readout": row.readout}
