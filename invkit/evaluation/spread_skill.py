"""Calibration diagnostics: conformal scores, and RMSE binned by predicted standard deviation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.conformal import scores
from invkit.evaluation.metrics import Outcome
from invkit.evaluation.metrics.calibration import moments
from invkit.evaluation.risk import uncovered

SCORE, SPREAD, LOSSES = "*score", "*spread", "*uncovered"  # not the names of metrics
LOW, DECADES, BINS = 1e-3, 3, 15  # bins of the predicted std on [0, 1]; the end bins are open


def diagnostics(outcome: Outcome) -> dict[str, dict[str, Tensor]]:
    """Per-image components, batch first, in the format of a metric's; empty unless there are at least 2 samples.

    `*score` is the conformal score, `*uncovered` the share of pixels outside intervals of several lengths.
    `*spread`, for at least 4 samples: the standard deviation of half of them assigns each evaluated pixel to a bin; the
    other K yield, for each bin, the sums of the predicted squared error `(K + 1) / K * variance`, of the squared error of
    their mean, and the number of pixels. With the same samples for both, bins of small standard deviation would collect
    underestimates; with separate halves both sums are equal in expectation in every bin for a true posterior, for any K.
    """
    if outcome.samples is None or len(outcome.samples) < 2:
        return {}
    mean, variance = moments(outcome.samples)
    judged = outcome.truth - mean, variance.sqrt(), outcome.weight
    components = {SCORE: {"score": scores(*judged)}, LOSSES: {"losses": uncovered(*judged)}}
    half = len(outcome.samples) // 2
    if half > 1:
        components[SPREAD] = _binned(outcome, outcome.samples[:half], outcome.samples[half:])
    return components


def _binned(outcome: Outcome, binning: Tensor, scored: Tensor) -> dict[str, Tensor]:
    """Sums over the samples `scored`, in bins assigned by the samples `binning`: (B, BINS) float64 each, in [0, 1] units."""
    _, binned = moments(binning)
    bins = ((binned.sqrt() / 2 / LOW).log10() * (BINS / DECADES)).clamp(0, BINS - 1).long()  # std 0: the first bin
    places = (bins + BINS * torch.arange(len(bins), device=bins.device).view(-1, 1, 1, 1)).cpu().numpy().ravel()

    def summed(values: Tensor) -> Tensor:  # in a fixed order of pixels, unlike on a GPU
        weights = (values * outcome.weight).double().cpu().numpy().ravel()
        return torch.from_numpy(np.bincount(places, weights, BINS * len(bins)).reshape(len(bins), BINS))

    mean, variance = moments(scored)
    predicted, error = variance * ((len(scored) + 1) / len(scored)) / 4, (outcome.truth - mean).square() / 4
    return {"predicted": summed(predicted), "error": summed(error), "count": summed(torch.ones_like(error))}


def binned_errors(sums: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """For each nonempty bin: root mean square predicted standard deviation and error, on [0, 1], and number of pixels."""
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
