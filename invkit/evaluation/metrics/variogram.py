"""The variogram score: a proper score of the dependence between pixels."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Means, Metric, Outcome, unit


class VariogramScore(Metric):
    """Variogram score of order 1/2 on [0, 1] (Scheuerer & Hamill 2015, equation 12), of pairs of pixels in a row or column.

    `(d(t) - mean_k d(x_k))^2 - s^2 / K` with `d(x) = |x_i - x_j|^(1/2)` and s^2 the unbiased variance of `d(x_k)`: the last
    term makes the expectation independent of K. The mean over the pairs at each distance 1, 2, 4, ... of which a pixel is
    hidden, then over the distances. For a point or mean `(d(t) - d(x))^2`.
    """

    better = "lower"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        results = [outcome.estimate] if outcome.samples is None else list(outcome.samples)
        if outcome.samples is not None and len(results) < 2:
            raise Unavailable("the unbiased score needs 2 samples")
        lags = [2**i for i in range(16) if 2**i < min(outcome.truth.shape[-2:])]
        if not lags:
            raise Unavailable("the image is one pixel wide or high")
        images = [unit(outcome.truth), *(unit(outcome.measurement.paste(x)) for x in results)]
        found = {}
        for lag in lags:
            true, *others = (_pairs(x, lag, torch.sub).abs().sqrt() for x in images)
            errors = [x - true for x in others]
            mean = torch.stack(errors).mean(0) if len(errors) > 1 else errors[0]
            by_chance = sum((x - mean).square() for x in errors) / (len(errors) * max(1, len(errors) - 1))
            hidden = _pairs(outcome.weight.double(), lag, torch.maximum)
            found[f"sum {lag}"] = ((mean.square() - by_chance) * hidden).sum((1, 2))
            found[f"count {lag}"] = hidden.sum((1, 2))
        return found

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.mean(
            [means[f"sum {lag}"] / means[name] for name in sorted(means) if (lag := name.partition("count ")[2])], 0
        )


def _pairs(
    x: Tensor,  # (B, C, H, W)
    lag: int,
    function: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A function of the values of all pairs of pixels at this distance in a row or column, (B, C, N)."""
    found = (function(x[..., lag:, :], x[..., :-lag, :]), function(x[..., lag:], x[..., :-lag]))
    return torch.cat([values.flatten(2) for values in found], -1)
