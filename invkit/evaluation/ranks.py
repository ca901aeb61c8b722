"""Rank histograms of the truth among the samples, and a test of their uniformity over groups of images.

If truth and samples are draws of one posterior, the rank of any statistic of the truth among those of the samples is uniform
(Cook, Gelman & Rubin 2006; Talts et al. 2018, theorem 1). Statistics are values at pixels, means over blocks, random linear
functionals and the distance from a reference point (TARP, Lemos et al. 2023).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.bootstrap import LEAST, Bootstrap
from invkit.evaluation.metrics.base import Block, Outcome
from invkit.physics.gaussian import frequencies, idct

RANKS = "*ranks"  # not the name of a metric
BLOCKS: tuple[Block, ...] = (1, 4, 16, "all")
FUNCTIONALS = 8
DEGREE = 4  # of the polynomials whose means over ranks are tested
TEST = (
    f"p-value of uniform ranks: means over groups of orthogonal polynomials of the rank up to degree {DEGREE}, compared with "
    f"their studentised bootstrap maximum; none below {LEAST} groups"
)
Array = NDArray[np.float64]


def rank_counts(outcome: Outcome) -> dict[str, Tensor]:
    """By statistic, how many values of each image have rank 0 ... K among the samples: (B, K + 1); empty without 2 samples.

    A statistic that equals that of some samples counts in equal parts at all ranks that it may have. `tarp` has the distance
    from the first sample, which is left out of the ranks: (B, K).
    """
    samples = outcome.samples
    if samples is None or len(samples) < 2:
        return {}
    found = {}
    for size in BLOCKS:
        if outcome.truth.shape[-2:] == (size, size):  # the same as the whole image
            continue
        try:
            means = outcome.blocks(size)
        except Unavailable:
            continue
        assert means.samples is not None
        found[f"block {size}"] = _counts(means.truth, means.samples, means.weight)
    some = outcome.weight.amax((1, 2, 3), keepdim=True)[..., 0]  # (B, 1, 1): whether anything is hidden
    if len(samples) > 2:
        distances = [_distance(x, samples[0], outcome.weight) for x in (outcome.truth, *samples[1:])]
        found["tarp"] = _counts(distances[0], torch.stack(distances[1:]), some[..., 0])
    functionals = _functionals(outcome.measurement.grid).to(samples.device)
    values = [
        torch.einsum("bchw,fchw->bf", (x.double() - samples[0]) * outcome.weight, functionals)
        for x in (outcome.truth, *samples)
    ]
    found["linear"] = _counts(values[0], torch.stack(values[1:]), some[..., 0].expand(-1, FUNCTIONALS))
    return found


@lru_cache(maxsize=8)
def _functionals(grid: Grid) -> Tensor:
    """Weights of random linear functionals with equal power in every octave of frequency: (FUNCTIONALS, C, H, W) float64."""
    noise = Keys.of(0, "eval/functionals", range(FUNCTIONALS)).normal("weights", *grid.picture).double()
    return idct(noise / (1 + frequencies(grid).square().sum(0)).sqrt())


def _distance(x: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Squared distance over the evaluated pixels, (B, 1) float64."""
    return ((x.double() - reference).square() * weight).sum((1, 2, 3))[:, None]


def _counts(
    truth: Tensor,  # (B, ...)
    samples: Tensor,  # (K, B, ...)
    weight: Tensor,  # (B, ...)
) -> Tensor:
    below, equal = (compared.sum(0).flatten(1) for compared in (samples < truth, samples == truth))
    ranks, share = len(samples) + 2, (weight.double().flatten(1) / (equal + 1)).cpu().numpy().ravel()
    first = (below + ranks * torch.arange(len(below), device=below.device)[:, None]).cpu().numpy().ravel()
    last = first + 1 + equal.cpu().numpy().ravel()
    rises, falls = (np.bincount(at, share, ranks * len(below)) for at in (first, last))  # in a fixed order of pixels
    return torch.from_numpy((rises - falls).reshape(len(below), ranks).cumsum(1)[:, :-1])


def rank_entries(counts: Mapping[str, Array], bootstrap: Bootstrap) -> dict[str, Any]:
    """For each statistic the density of the ranks (1 if uniform) and the p-value of uniformity, and p for all of them together.

    A p-value is null for fewer groups than a bootstrap needs. The tested values are the means over groups of the group's mean
    of orthogonal polynomials of the rank, as in the smooth test of Neyman (1937). Their expectation is 0 for uniform ranks,
    however the ranks within a group depend on each other.
    """
    counts = {name: values for name, values in sorted(counts.items()) if values.sum() > 0}
    means = {name: _group_means(values, bootstrap) for name, values in counts.items()}
    entries = [
        {
            "of": name,
            "density": (values.sum(0) / values.sum() * values.shape[1]).tolist(),
            "p": _smallest(means[name], bootstrap),
        }
        for name, values in counts.items()
    ]
    return {"p": _smallest(np.concatenate(list(means.values())), bootstrap) if means else None, "ranks": entries}


def _smallest(values: Array, bootstrap: Bootstrap) -> float | None:
    found = bootstrap.tests(values)
    return None if np.isnan(found).all() else float(np.nanmin(found))


def _group_means(
    counts: Array,  # (N, R): of each image
    bootstrap: Bootstrap,
) -> Array:
    """Means over groups of the polynomials of degree 1 to `DEGREE`, then without each group: (DEGREE, 1 + G)."""
    sums = np.stack([np.bincount(bootstrap.members, column, bootstrap.groups) for column in counts.T], 1)
    shares = sums / np.maximum(sums.sum(1, keepdims=True), 1e-300)  # 0, the expectation, for a group without values
    scores = (shares @ _polynomials(counts.shape[1])).T
    total = scores.sum(1, keepdims=True)
    return np.concatenate([total / bootstrap.groups, (total - scores) / max(1, bootstrap.groups - 1)], 1)


def _polynomials(ranks: int) -> Array:
    """Polynomials of the rank of degree 1 to `DEGREE`, orthonormal under the uniform distribution: (ranks, DEGREE)."""
    powers = np.vander(np.linspace(-1, 1, ranks), min(DEGREE, ranks - 1) + 1, increasing=True)
    return (np.linalg.qr(powers)[0] * np.sqrt(ranks))[:, 1:]
