"""The best method per metric, and the set of methods that cannot be told from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.evaluation.bootstrap import CONFIDENCE, LEAST, Bootstrap
from invkit.evaluation.metrics import Metric
from invkit.evaluation.results import MethodScores

# Distances of one image to the truth. Samples are not ranked by them: a smaller distance may mean too little spread.
PER_IMAGE_DISTANCES = frozenset({"psnr", "psnr_hidden", "ssim", "mae", "lpips"})
RULE = (
    "points and means are compared with each other, and samples with samples, by metrics with a preferred direction; "
    f"samples not by {', '.join(sorted(PER_IMAGE_DISTANCES))}; the rows that no other row is better than, at a one-sided level of "
    "95 % for all comparisons of a row with the others (studentised bootstrap maximum), are a confidence set for the best; no "
    f"ranks below {LEAST} groups"
)


def best(
    rows: Sequence[MethodScores],
    values: Sequence[Mapping[str, NDArray[np.float64]]],  # by row and metric: of all images, then without each group
    metrics: Mapping[str, Metric],
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """The best row and the others of its confidence set, for each metric and kind with at least two comparable rows.

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
            top, _ = max(candidates, key=lambda pair: sign * pair[1][0])
            inside = not_worse(np.stack([sign * own for _, own in candidates]), bootstrap)
            tied = [_named(row) for (row, _), kept in zip(candidates, inside, strict=True) if kept and row is not top]
            entries.append({"compared": kind, "metric": name, "best": _named(top), "alike": tied})
    return entries


def not_worse(
    values: NDArray[np.float64],  # (M, 1 + G) of M rows: higher is better
    bootstrap: Bootstrap,
) -> NDArray[np.bool_]:
    """The rows that are in the confidence set of the best, (M,): multiple comparisons with the best (Hsu 1996, chapter 4).

    A row is outside if another one is better by more than the studentised bootstrap maximum over its comparisons with all others
    allows, one-sided. So the best row is inside with probability `CONFIDENCE`.
    """
    inside = np.ones(len(values), bool)
    for i in range(len(values)):
        differences = np.delete(values, i, 0) - values[i]
        told = bootstrap.tests(differences) <= 2 * (1 - CONFIDENCE)  # these p-values are two-sided
        inside[i] = not (told & (differences[:, 0] > 0)).any()
    return inside


def _named(row: MethodScores) -> dict[str, str]:
    return {"method": row.method.name, "readout": row.readout}
