"""Calibration diagnostics: conformal scores, and RMSE binned by predicted standard deviation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.conformal import scores
from invkit.evaluation.metrics import Outcome
from invkit.evaluation.metrics.calibration import moments

SCORE, SPREAD = "*score", "*spread"  # no metric's names
LOW, DECADES, BINS = 1e-3, 3, 15  # bins of the predicted deviation, in units of [0, 1] pictures; the ends take the rest


def diagnosed(outcome: Outcome) -> dict[str, dict[str, Tensor]]:
    """Components of every picture, the batch first, as those of a metric; none of a row that does not sample.

    `*score`: its conformal score. `*spread`, of at least 4 samples: half of them put each judged pixel into a bin by their
    deviation; of the others, sums over a bin of the predicted square `(K + 1) / K * variance`, of the squared error of
    their mean, and the count. Were they the same samples, a bin of small deviations would hold those that came out too
    small; so, both sums are equal in every bin for a true posterior, whatever K.
    """
    if outcome.samples is None or len(outcome.samples) < 2:
        return {}
    mean, variance = moments(outcome.samples)
    found = {SCORE: {"score": scores(outcome.truth - mean, variance.sqrt(), outcome.weight)}}
    half = len(outcome.samples) // 2
    if half > 1:
        found[SPREAD] = _binned(outcome, outcome.samples[:half], outcome.samples[half:])
    return found


def _binned(outcome: Outcome, placing: Tensor, judged: Tensor) -> dict[str, Tensor]:
    """The sums of one half of the samples in bins by the other half, (B, BINS) float64 each; [0, 1] units."""
    _, placed = moments(placing)
    bins = ((placed.sqrt() / 2 / LOW).log10() * (BINS / DECADES)).clamp(0, BINS - 1).long()  # of 0: the first
    places = (bins + BINS * torch.arange(len(bins), device=bins.device).view(-1, 1, 1, 1)).cpu().numpy().ravel()

    def summed(values: Tensor) -> Tensor:  # in the order of the pixels, which a GPU would not keep
        weights = (values * outcome.weight).double().cpu().numpy().ravel()
        return torch.from_numpy(np.bincount(places, weights, BINS * len(bins)).reshape(len(bins), BINS))

    mean, variance = moments(judged)
    predicted, error = variance * ((len(judged) + 1) / len(judged)) / 4, (outcome.truth - mean).square() / 4
    return {"predicted": summed(predicted), "error": summed(error), "count": summed(torch.ones_like(error))}


def by_deviation(sums: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Of every bin that has pixels: their predicted deviation and their error, root mean squares on [0, 1], and count."""
    total = {name: values.sum(0) for name, values in sums.items()}
    return [
        {
            "predicted": float(np.sqrt(total["predicted"][i] / n)),
            "error": float(np.sqrt(total["error"][i] / n)),
            "count": int(n),
        }
        for i, n in enumerate(total.get("count", ()))
        if n > 0
    ]
