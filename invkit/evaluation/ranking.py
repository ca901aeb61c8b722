"""Which rows are the best of their like, and which cannot be told from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.metrics import Metric
from invkit.evaluation.results import MethodScores

# Distances of one picture to the truth: a sample that is nearer than another has spread too little, it is no better.
OF_ONE_PICTURE = frozenset({"psnr", "psnr_hidden", "ssim", "mae", "lpips"})
RULE = (
    "points and means are compared with each other, and samples with samples, by metrics that say which way is better; "
    f"samples not by {', '.join(sorted(OF_ONE_PICTURE))}; a row is not told from the best where the 95 % interval of "
    "the paired difference includes 0"
)


def best(
    rows: Sequence[MethodScores],
    values: Sequence[Mapping[str, NDArray[np.float64]]],  # of each row by metric: the value, then of all resamples
    metrics: Mapping[str, Metric],
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """For each kind of readout and metric, where two rows can be compared: the best of them, and its equals."""
    found = []
    for kind, readouts in (("mean", ("point", "mean")), ("sample", ("sample",))):
        for name, metric in metrics.items():
            if metric.better is None or (kind == "sample" and name in OF_ONE_PICTURE):
                continue
            there = [
                (row, own[name])
                for row, own in zip(rows, values, strict=True)
                if row.readout in readouts and name in own and np.isfinite(own[name][0])
            ]
            if len(there) < 2:
                continue
            sign = 1 if metric.better == "higher" else -1
            top, ahead = max(there, key=lambda pair: sign * pair[1][0])
            alike = []
            for row, own in there:
                low, high = bootstrap.interval(own - ahead)
                if row is not top and (low is None or high is None or low <= 0 <= high):
                    alike.append(_named(row))
            found.append({"compared": kind, "metric": name, "best": _named(top), "alike": alike})
    return found


def _named(row: MethodScores) -> dict[str, str]:
    return {"method": row.method.name, "readout": row.readout}
