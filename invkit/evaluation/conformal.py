"""Split-conformal calibration of posterior samples, with one score for each picture.

The score of a picture is the least factor f for which mean ± f x deviation of its samples holds a share `SHARE` of its
pixels (the hidden ones, of a mask). The k-th smallest of n calibration scores, k = ceil((n + 1) LEVEL), then bounds the
score of one more exchangeable picture with probability at least LEVEL and at most LEVEL + 1 / (n + 1) where scores do not
tie (Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates 2023, theorem D.1; of pictures: Angelopoulos et al. 2022).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.keys import Keys

SHARE = 0.9  # of a picture's pixels
LEVEL = 0.9  # of pictures
LEAST = 100  # pictures of different photographs
GUARANTEE = (
    f"mean ± factor x deviation of the samples holds {SHARE:.0%} of the judged pixels of one more picture with a probability "
    f"of at least {LEVEL:.0%}, over the draw of the calibration pictures and of that one, where they are exchangeable; "
    "it says nothing of one given picture or pixel"
)

Array = NDArray[np.float64]


def scores(
    error: Tensor,  # (B, C, H, W): truth minus mean
    deviation: Tensor,  # (B, C, H, W)
    weight: Tensor,  # (B, C, H, W): 1 where pixels are judged, else 0
) -> Tensor:
    """The score of every picture, (B,) float64: infinite where no factor is enough, NaN where nothing is judged.

    >>> error, deviation = torch.tensor([2.0, 6.0, 1.0, 9.0]).view(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    >>> scores(error, deviation, torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 2, 2))
    tensor([3.], dtype=torch.float64)
    """
    found = []
    ratio = torch.where(error == 0, 0, error.double().abs() / deviation.double())  # 0 / 0: the truth is in the point
    for values, judged in zip(ratio, weight > 0, strict=True):
        chosen = values[judged]
        rank = math.ceil(SHARE * len(chosen) - 1e-9)  # of 10 pixels 9, whatever .9 is in binary
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
    """Which pictures calibrate and which are held out: keyed halves of the first pictures of all photographs.

    Pictures that were cut from one photograph are not exchangeable with those of others, so one of them counts.
    """
    first = np.array(sorted({name: i for i, name in reversed(list(enumerate(groups)))}.values()), dtype=np.intp)
    order = Keys.of(seed, "eval/conformal", [0]).permutation("split", len(first))[0].numpy()
    return first[order[: len(first) // 2]], first[order[len(first) // 2 :]]


def calibrate(
    values: Array,  # (N,): the score of every picture
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
        return {**nothing, "reason": f"needs {LEAST} pictures of different photographs; there are {count}"}
    chosen, held_out = (values[judged[half]] for half in split(known, seed))
    factor = threshold(chosen)
    if math.isinf(factor):
        return {**nothing, "reason": "no factor is enough: too many pixels are wrong where the samples do not differ"}
    hits = int((held_out <= factor).sum())
    bounds = binomtest(hits, len(held_out)).proportion_ci(method="wilson")
    coverage = {"value": hits / len(held_out), "lo": float(bounds.low), "hi": float(bounds.high)}
    return {"factor": factor, "images": len(chosen), "held_out": len(held_out), "coverage": coverage}
