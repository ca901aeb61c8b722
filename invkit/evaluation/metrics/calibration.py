"""Calibration of posterior samples, from all K samples without clipping, of pixels or means of blocks.

Over a mask's hidden pixels, else over all pixels; see `Outcome.blocks` for blocks.
"""

from abc import ABC
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import BlockMetric, Means, Outcome
from invkit.reconstructors.posterior import central_rank


def fair_crps(ordered: Tensor, truth: Tensor) -> Tensor:
    """Continuous ranked probability score of K ordered samples (K, ...) for a truth (...), float64.

    The fair estimator (Ferro 2014): `mean_k |x_k - t| - sum_{i<j} |x_i - x_j| / (K (K - 1))`, whose expectation does
    not depend on K; the pairwise sum equals `sum_i (2 i - K - 1) x_(i)` for ordered samples.

    >>> float(fair_crps(torch.tensor([0.0, 2.0]), torch.tensor(1.0)))
    0.0
    """
    count = len(ordered)
    total = torch.zeros_like(truth, dtype=torch.float64)
    for i, x in enumerate(ordered, 1):
        x = x.double()
        total += (x - truth).abs() / count - (2 * i - count - 1) / (count * (count - 1)) * x
    return total


def central_interval(outcome: Outcome, percent: int) -> tuple[Tensor, Tensor]:
    """The bounds (B, C, H, W) of the central interval between two order statistics of the samples. Raises Unavailable."""
    if outcome.samples is None:
        raise Unavailable("needs samples")
    count = len(outcome.samples)
    rank = central_rank(percent, count)
    if rank is None:
        least = next(k for k in range(1, 200) if central_rank(percent, k))
        raise Unavailable(f"{count} samples give no {percent} % interval; {least} do")
    return outcome.ordered[rank - 1], outcome.ordered[count - rank]


class Crps(BlockMetric):
    """Continuous ranked probability score on [0, 1]: the fair estimator (Ferro 2014); for a point or mean, the absolute error."""

    better = "lower"

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        if outcome.samples is None:
            return outcome.mean_of((outcome.estimate - outcome.truth).abs() / 2)
        if len(outcome.samples) < 2:
            raise Unavailable("the fair estimator needs 2 samples")
        return outcome.mean_of(fair_crps(outcome.ordered, outcome.truth) / 2)


class Coverage(BlockMetric, ABC):
    """Share of pixels whose truth lies in the central interval between two order statistics of the samples."""

    percent: ClassVar[int]

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        low, high = central_interval(outcome, self.percent)
        return outcome.mean_of((low <= outcome.truth) & (outcome.truth <= high))


class Coverage50(Coverage):
    """Share of pixels whose truth lies in the central 50 % interval."""

    percent = 50


class Coverage80(Coverage):
    """Share of pixels whose truth lies in the central 80 % interval."""

    percent = 80


class Coverage90(Coverage):
    """Share of pixels whose truth lies in the central 90 % interval."""

    percent = 90


class Coverage95(Coverage):
    """Share of pixels whose truth lies in the central 95 % interval."""

    percent = 95


class IntervalWidth90(BlockMetric):
    """Mean width of the central 90 % interval on [0, 1]: narrower is better at equal coverage."""

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        low, high = central_interval(outcome, 90)
        return outcome.mean_of((high - low) / 2)


class SpreadSkill(BlockMetric):
    """Spread over skill: 1 for a true posterior, less if the samples are overconfident.

    `sqrt((K + 1) / K * mean variance) / sqrt(mean squared error of the K-sample mean)`, variances unbiased, both means
    pooled over pixels and images (Fortin et al. 2014).
    """

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        mean, variance = _moments(outcome)
        count = len(outcome.samples)  # type: ignore[arg-type]
        return {
            "spread": outcome.total(variance) * (count + 1) / count,
            "skill": outcome.total((mean - outcome.truth).square()),
        }

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.sqrt(means["spread"] / means["skill"])


class SampleMseRatio(BlockMetric):
    """Mean squared error of one sample (the mean over all K) over that of the posterior mean: 2 for a true posterior.

    Pooled over pixels and images. The posterior mean is the one that the method computes; if it computes none, the mean of
    the K samples, whose excess error `variance / K` is subtracted.
    """

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        mean, variance = _moments(outcome)
        count = len(outcome.samples)  # type: ignore[arg-type]
        of_mean = (mean - outcome.truth).square()
        of_sample = of_mean + variance * (count - 1) / count  # the mean of (x_k - t)^2
        reference = of_mean - variance / count if outcome.mean is None else (outcome.mean - outcome.truth).square()
        return {"sum": outcome.total(of_sample), "count": outcome.total(reference)}


class SamplerLawSlope(BlockMetric):
    """Error of the mean of k samples as a function of 1/k: slope over intercept, 1 for a true posterior.

    `MSE_k = MSE_mean (1 + 1/k)` for samples of the posterior. Averaged over all choices of k of the K samples, the error is
    exactly linear in 1/k: `(m - t)^2 - v / K + v / k`, with m and v the samples' mean and unbiased variance. Pooled over
    pixels and images. Above 1, the samples are too widely spread for the error of their mean. Only samples are used,
    whereas `sample_mse_ratio` compares them with the mean that the method computes.
    """

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        mean, variance = _moments(outcome)
        count = len(outcome.samples)  # type: ignore[arg-type]
        intercept = (mean - outcome.truth).square() - variance / count
        return {"sum": outcome.total(variance), "count": outcome.total(intercept)}


class MeanShift(BlockMetric):
    """Distance of the samples' mean from the posterior mean that the method computes, in standard deviations of the samples: 0.

    The root mean square over pixels and images, `sqrt(mean ((m - e)^2 - v / K) / mean v)`, without the part that is due to the
    number of samples; with the sign of the difference under the root, so that chance gives values around 0.
    """

    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        mean, variance = _moments(outcome)
        if outcome.mean is None:
            raise Unavailable("the method computes no posterior mean besides its samples")
        by_chance = variance / len(outcome.samples)  # type: ignore[arg-type]
        return {
            "sum": outcome.total((mean - outcome.mean).square() - by_chance),
            "count": outcome.total(variance),
        }

    def reduce(self, means: Means) -> NDArray[np.float64]:
        ratio = means["sum"] / means["count"]
        return np.sign(ratio) * np.sqrt(np.abs(ratio))


def _moments(outcome: Outcome) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of the samples, (B, C, H, W) float64. Raises Unavailable for fewer than 2."""
    if outcome.samples is None:
        raise Unavailable("needs samples")
    if len(outcome.samples) < 2:
        raise Unavailable("needs 2 samples")
    return moments(outcome.samples)


def moments(
    samples: Tensor,  # (K, B, C, H, W)
) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance, (B, C, H, W) float64, without a float64 copy of all samples."""
    mean = sum((x.double() for x in samples[1:]), samples[0].double()) / len(samples)
    squares = sum(((x - mean).square() for x in samples[1:]), (samples[0] - mean).square())
    return mean, squares / (len(samples) - 1)
