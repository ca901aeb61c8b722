"""Distances between the distributions of estimates and true images: FID and KID."""

from abc import ABC

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Means, Outcome, SetMetric
from invkit.evaluation.metrics.pretrained import INCEPTION, NetworkMetric, has_inception, inception_network

LEAST = 10_000  # smallest number of images for FID, whose bias falls with their number and differs between methods
BLOCK = 1000  # images at a time
Features = NDArray[np.float64]


class InceptionMetric(NetworkMetric, SetMetric, ABC):
    """A distance between the Inception features of estimates and of truths, clipped and rounded to 8 bits.

    For a sample row, the estimate is the first sample of each image.
    """

    better = "lower"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        if outcome.truth.shape[1] != 3:
            raise Unavailable("its network requires 3 channels")
        if not has_inception():
            raise Unavailable("needs the package torch-fidelity: pip install torch-fidelity")
        network = inception_network(self.file(INCEPTION), outcome.truth.device)
        estimate, truth = (network((x * 255).round().byte()) for x in outcome.pictures)
        return {"estimate": estimate, "truth": truth}


class Fid(InceptionMetric):
    """Fréchet distance between the Gaussians fitted to both sets of features (Heusel et al. 2017, equation 6).

    `|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`. Undefined for fewer than 10,000 images, where its bias dominates.
    """

    def of_set(self, components: Means) -> float:
        estimate, truth = components["estimate"], components["truth"]
        if len(truth) < LEAST:
            raise Unavailable(f"needs {LEAST:,} images, since its bias depends on their number; there are {len(truth)}")
        return frechet(estimate, truth)


class Kid(InceptionMetric):
    """Squared maximum mean discrepancy between both sets of features (Bińkowski et al. 2018), unbiased; 0 for equal distributions.

    Kernel `(x . y / D + 1)^3`; the U-statistic over all pairs of different images (Gretton et al. 2012, equation 4),
    because an estimate depends on its truth. It may be negative.
    """

    def of_set(self, components: Means) -> float:
        if len(components["truth"]) < 2:
            raise Unavailable("needs 2 images")
        return discrepancy(components["estimate"], components["truth"])


def frechet(x: Features, y: Features) -> float:
    """Fréchet distance between the Gaussians fitted to (N, D) and (M, D); covariances are unbiased."""
    first, second = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()  # tr (S_1 S_2)^(1/2)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * cross)


def discrepancy(x: Features, y: Features) -> float:
    """Squared maximum mean discrepancy between (N, D) and (N, D), without pairs of equal index, which are dependent."""
    count, size = x.shape
    total = 0.0
    for first in range(0, count, BLOCK):
        a, b = x[first : first + BLOCK], y[first : first + BLOCK]
        kernel = sum(sign * (u @ v.T / size + 1) ** 3 for u, v, sign in ((a, x, 1), (b, y, 1), (a, y, -1), (b, x, -1)))
        rows = np.arange(len(a))
        total += float(kernel.sum() - kernel[rows, first + rows].sum())
    return total / (count * (count - 1))
