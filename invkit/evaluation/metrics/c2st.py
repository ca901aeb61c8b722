"""Classifier two-sample test: whether samples of a row can be told from samples of the exact posterior."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Means, Outcome, SetMetric, block_means
from invkit.evaluation.metrics.calibration import moments

FOLDS = 5
STEPS = 20  # of Newton's method
RIDGE = 1.0  # precision of the weights of standardised features
LAGS = (1, 2, 4)
Array = NDArray[np.float64]


class C2st(SetMetric):
    """Accuracy at telling the samples from exact ones, those of the row `oracle`: 0.5 if both have the same distribution.

    A logistic regression on summaries of each sample, validated on images that it was not fitted to (Lopez-Paz & Oquab 2017).
    The summaries are of `z = (x - m) / s`, with m and s the mean and the root mean square standard deviation of a third of the
    exact samples, over the hidden pixels: means of z, |z|, z^2, of the products of z at distances 1, 2 and 4, and of the squared
    means over blocks of 4x4 and over the image. Of the row the second third of the samples is used, of the exact ones the last.
    """

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        if outcome.samples is None:
            raise Unavailable("needs samples")
        if outcome.exact is None:
            raise Unavailable("needs samples of the exact posterior: the method oracle among eval.methods")
        third = len(outcome.samples) // 3
        if third < 2:
            raise Unavailable("needs 6 samples")
        mean, variance = moments(outcome.exact[:third])
        scale = (outcome.total(variance) / outcome.weight.sum((1, 2, 3)).clamp(min=1)).sqrt().clamp(min=1e-12)

        def summaries(samples: Tensor) -> Tensor:
            each = [_summary((x - mean) / scale.view(-1, 1, 1, 1) * outcome.weight) for x in samples]
            return torch.cat(each, 1)

        return {
            "row": summaries(outcome.samples[third : 2 * third]),
            "exact": summaries(outcome.exact[2 * third : 3 * third]),
        }

    def of_set(self, components: Means) -> float:
        images = len(components["row"])
        if images < 2 * FOLDS:
            raise Unavailable(f"needs {2 * FOLDS} images")
        features = [values.reshape(images, -1, SUMMARIES) for values in (components["row"], components["exact"])]
        fold = Keys.of(0, "eval/c2st", [0]).permutation("folds", images)[0].numpy() % FOLDS
        right = [
            accuracy(*(values[fold != i].reshape(-1, SUMMARIES) for values in features),
                     *(values[fold == i].reshape(-1, SUMMARIES) for values in features))
            for i in range(FOLDS)
        ]  # fmt: skip
        return float(np.average(right, weights=np.bincount(fold)))


SUMMARIES = 5 + len(LAGS)


def _summary(
    z: Tensor,  # (B, C, H, W)
) -> Tensor:
    """(B, SUMMARIES) float64."""
    z = z.double()
    size = min(4, *z.shape[-2:])
    values = [z, z.abs(), z.square(), block_means(z, size).square(), block_means(z, "all").square()]
    for lag in LAGS:
        pairs = (z[..., lag:, :] * z[..., :-lag, :], z[..., lag:] * z[..., :-lag])
        values.append(torch.cat([pair.flatten(2) for pair in pairs], -1))
    return torch.stack([x.flatten(1).sum(1) / max(1, x[0].numel()) for x in values], 1)


def accuracy(first: Array, second: Array, first_held: Array, second_held: Array) -> float:
    """Share of held-out points (N, D) that a logistic regression on the other two sets of points assigns to their set."""
    points, label = np.concatenate([first, second]), np.repeat([1.0, 0.0], [len(first), len(second)])
    centre, scale = points.mean(0), points.std(0) + 1e-12

    def design(x: Array) -> Array:
        return np.concatenate([np.ones((len(x), 1)), (x - centre) / scale], 1)

    x, weights = design(points), np.zeros(points.shape[1] + 1)
    for _ in range(STEPS):
        share = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = (x * (share * (1 - share))[:, None]).T @ x + RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(curvature, x.T @ (label - share) - RIDGE * weights)
    hits = [design(first_held) @ weights > 0, design(second_held) @ weights <= 0]
    return float(np.concatenate(hits).mean())
