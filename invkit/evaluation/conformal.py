"""Split-conformal calibration of posterior samples, with one score per image.

The score of an image is the smallest factor f for which mean ± f x standard deviation of its samples contains a share
`SHARE` of its pixels (of the hidden ones, for a mask). The k-th smallest of n calibration scores, k = ceil((n + 1) LEVEL),
then bounds the score of another exchangeable image with probability at least LEVEL, and at most LEVEL + 1 / (n + 1) if
there are no ties (Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates 2023, theorem D.1; for images: Angelopoulos et al.
2022).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.keys import Keys

SHARE = 0.9  # of an image's pixels
LEVEL = 0.9  # of images
LEAST = 100  # smallest number of images of different photographs
GUARANTEE = (
    f"mean ± factor x standard deviation of the samples contains {SHARE:.0%} of the evaluated pixels of another image with "
    f"probability at least {LEVEL:.0%}, over the random choice of that image and of the calibration images, if they are "
    "exchangeable; there is no guarantee for a given image or pixel"
)

Array = NDArray[np.float64]


def scores(
    error: Tensor,  # (B, C, H, W): truth minus mean
    deviation: Tensor,  # (B, C, H, W)
    weight: Tensor,  # (B, C, H, W): 1 at evaluated pixels, else 0
) -> Tensor:
    """Scores of the images, (B,) float64: infinite if no factor suffices, NaN if no pixels are evaluated.

    >>> error, deviation = torch.tensor([2.0, 6.0, 1.0, 9.0]).view(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    >>> scores(error, deviation, torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 2, 2))
    tensor([3.], dtype=torch.float64)
    """
    found = []
    ratio = torch.where(error == 0, 0, error.double().abs() / deviation.double())  # 0 / 0: contained
    for values, judged in zip(ratio, weight > 0, strict=True):
        chosen = values[judged]
        rank = math.ceil(SHARE * len(chosen) - 1e-9)  # 9 of 10 pixels, despite rounding of .9
        found.append(chosen.kthvalue(rank).values if len(chosen) else chosen.new_full((), torch.nan))
    return torch.stack(found)


def threshold(values: Array) -> float:
    """The k-th smallest of n scores, k = ceil((n + 1) LEVEL); infinite where k > n.

    >>> threshold(np.arange(1.0, 20.0)), threshold(np.arange(1.0, 9.0))
    (18.0, inf)
    """
    rank = math.ceil((len(values) + 1) * LEVEL - 1e-9)
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else math.inf


def split(groups: Sequence[str], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of calibration and held-out images: random keyed halves of the first images of all photographs.

    Only one image per photograph is used, because images of one photograph are not exchangeable with those of others.
    """
    first = np.array(sorted({name: i for i, name in reversed(list(enumerate(groups)))}.values()), dtype=np.intp)
    order = Keys.of(seed, "eval/conformal", [0]).permutation("split", len(first))[0].numpy()
    return first[order[: len(first) // 2]], first[order[len(first) // 2 :]]


def calibrate(
    values: Array,  # (N,): the score of each image
    groups: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """The factor of the calibrating half, and what it covers of the other; null, with the reason, of too few pictures.

    The interval of the coverage is the 95 % one of Wilson (1927).
    """
    from scipy.stats import binomtest

    judged = np.flatnonzero(~np.isnan(values))
    known = [groups[int(i)] for i in judged]
    nothing = {"factor": None, "images": 0, "held_out": 0, "coverage": {"value": None, "lo": None, "hi": None}}
    if (count := len(set(known))) < LEAST:
        return {**nothing, "reason": f"needs {LEAST} images of different photographs; there are {count}"}
    chosen, held_out = (values[judged[half]] for half in split(known, seed))
    factor = threshold(chosen)
    if math.isinf(factor):
        return {**nothing, "reason": "no factor suffices: at too many pixels the samples are equal and wrong"}
    hits = int((held_out <= factor).sum())
    bounds = binomtest(hits, len(held_out)).proportion_ci(method="wilson")
    coverage = {"value": hits / len(held_out), "lo": float(bounds.low), "hi": float(bounds.high)}
    return {"factor": factor, "images": len(chosen), "held_out": len(held_out), "coverage": coverage}
