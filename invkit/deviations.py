"""What is gathered of posterior samples beside the metrics: scores to calibrate by, and errors by predicted deviation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.conformal import scores
from invkit.metrics import Outcome

SCORE, SPREAD = "*score", "*spread"  # no metric's names
LOW, DECADES, BINS = 1e-3, 3, 15  # bins of the predicted deviation, in units of [0, 1] pictures; the ends take the rest


def diagnosed(outcome: Outcome) -> dict[str, dict[str, Tensor]]:
    """Components of every picture, the batch first, as those of a metric; none of a row that does not sample.

    `*score`: its conformal score. `*spread`: sums over its judged pixels by bins of the predicted deviation
    `sqrt((K + 1) / K * variance)`: of its square, of the squared error of the K-sample mean, and the count.
    """
    if outcome.samples is None or len(outcome.samples) < 2:
        return {}
    count = len(outcome.samples)
    mean = sum(x.double() for x in outcome.samples) / count
    variance = sum((x - mean).square() for x in outcome.samples) / (count - 1)
    error = outcome.truth - mean
    found = scores(error, variance.sqrt(), outcome.weight)
    predicted = variance * ((count + 1) / count) / 4  # [0, 1] units
    bins = ((predicted.sqrt() / LOW).log10() * (BINS / DECADES)).clamp(0, BINS - 1).long()  # of 0: the first
    places = (bins + BINS * torch.arange(len(bins), device=bins.device).view(-1, 1, 1, 1)).cpu().numpy().ravel()

    def summed(values: Tensor) -> Tensor:  # in the order of the pixels, which a GPU would not keep
        weights = (values * outcome.weight).double().cpu().numpy().ravel()
        return torch.from_numpy(np.bincount(places, weights, BINS * len(bins)).reshape(len(bins), BINS))

    sums = {
        "predicted": summed(predicted),
        "error": summed(error.square() / 4),
        "count": summed(torch.ones_like(error)),
    }
    return {SCORE: {"score": found}, SPREAD: sums}


def by_deviation(sums: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Of every bin that has pixels: their predicted deviation and their error, root mean squares on [0, 1], and count."""
    total = {name: values.sum(0) for name, values in sums.items()}
    return [
        {"predicted": float(np.sqrt(p / n)), "error": float(np.sqrt(e / n)), "count": int(n)}
        for p, e, n in zip(total["predicted"], total["error"], total["count"], strict=True)
        if n > 0
    ]
