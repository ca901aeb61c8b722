"""Risk-controlling prediction sets of posterior samples: the factor on their standard deviation that bounds the share of
pixels outside mean ± factor x standard deviation.

The loss of an image is the share of its pixels (of the hidden ones, for a mask) that are not contained. The factor is the
smallest for which, at it and at all larger ones, an upper confidence bound on the expected loss is below `alpha`, so the
expected loss of another image is at most `alpha` with probability `1 - delta` over the calibration images (Bates et al.
2021, theorem 1; for images: Angelopoulos et al. 2022). The bound is that of Waudby-Smith and Ramdas for losses in [0, 1]
(Bates et al. 2021, proposition 5).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.conformal import split

FACTORS = 0.05 * 1.02 ** np.arange(360)  # candidates, to 61

Array = NDArray[np.float64]


def guarantee(alpha: float, delta: float) -> str:
    """What the factor promises, in words."""
    return (
        f"mean ± factor x standard deviation of the samples contains at least {1 - alpha:.4g} of the evaluated pixels of "
        f"another image in expectation, with probability {1 - delta:.4g} over the calibration images, if all are exchangeable"
    )


def uncovered(
    error: Tensor,  # (B, C, H, W): truth minus mean
    deviation: Tensor,  # (B, C, H, W)
    weight: Tensor,  # (B, C, H, W): 1 at evaluated pixels, else 0
) -> Tensor:
    """The loss of each image for every one of `FACTORS`, (B, factors) float64; NaN if no pixels are evaluated.

    >>> error, deviation = torch.tensor([2.0, 6.0, 1.0, 9.0]).view(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    >>> losses = uncovered(error, deviation, torch.ones(1, 1, 2, 2))
    >>> [float(losses[0, abs(FACTORS - factor).argmin()]) for factor in (0.3, 2.0, 4.0, 5.0)]
    [1.0, 0.5, 0.25, 0.0]
    """
    ratio = torch.where(error == 0, 0, error.double().abs() / deviation.double()).cpu()  # 0 / 0: contained
    below = torch.bucketize(ratio, torch.from_numpy(FACTORS))  # how many factors do not contain a pixel
    losses = []
    for counts, judged in zip(below, weight.cpu() > 0, strict=True):
        chosen = torch.bincount(counts[judged], minlength=len(FACTORS) + 1).double()
        losses.append((chosen.sum() - chosen.cumsum(0))[:-1] / chosen.sum())
    return torch.stack(losses)


def bounded(losses: Array, alpha: float, delta: float) -> NDArray[np.bool_]:
    """For each column of losses (N, factors), whether the upper confidence bound on the mean is below `alpha`.

    The bound is the smallest mean R for which the capital of a sequence of bets against it, the product of
    `1 - nu_i (L_i - R)`, exceeds `1 / delta`; the capital increases with R.

    >>> bounded(np.zeros((25, 1)), 0.1, 0.1), bounded(np.zeros((24, 1)), 0.1, 0.1)
    (array([ True]), array([False]))
    """
    count = np.arange(1, len(losses) + 1)[:, None]
    mean = (0.5 + losses.cumsum(0)) / (1 + count)
    variance = (0.25 + np.square(losses - mean).cumsum(0)) / (1 + count)
    before = np.concatenate([np.full_like(variance[:1], 0.25), variance[:-1]])
    bet = np.minimum(1, np.sqrt(2 * math.log(1 / delta) / (len(losses) * before)))
    capital = np.log1p(-bet * (losses - alpha)).cumsum(0).max(0)
    return capital > math.log(1 / delta)


def least(alpha: float, delta: float) -> int:
    """The smallest number of images of different photographs, half of which calibrate, that can have a factor.

    >>> least(0.1, 0.1), least(0.05, 0.1)
    (50, 96)
    """
    return 2 * (math.floor(math.log(1 / delta) / math.log1p(alpha)) + 1)


def control(
    losses: Array,  # (N, factors)
    groups: Sequence[str],
    seed: int,
    alpha: float,
    delta: float,
) -> dict[str, Any]:
    """The factor from one half of the images, and the mean loss of the other; null, with a reason, if there are too few.

    The interval of the mean is the 95 % one of Student's t.
    """
    from scipy.special import stdtrit

    judged = np.flatnonzero(~np.isnan(losses[:, 0]))
    known = [groups[int(i)] for i in judged]
    nothing = {
        "factor": None, "alpha": alpha, "delta": delta, "images": 0, "held_out": 0,
        "uncovered": {"value": None, "lo": None, "hi": None},
    }  # fmt: skip
    if (count := len(set(known))) < (needed := least(alpha, delta)):
        return {**nothing, "reason": f"needs {needed} images of different photographs; there are {count}"}
    chosen, held_out = (losses[judged[half]] for half in split(known, seed))
    too_small = np.flatnonzero(~bounded(chosen, alpha, delta))
    at = 0 if not len(too_small) else int(too_small[-1]) + 1
    if at == len(FACTORS):
        return {**nothing, "reason": f"no factor up to {FACTORS[-1]:.3g} suffices for {len(chosen)} calibration images"}
    rest = held_out[:, at]
    half = stdtrit(len(rest) - 1, 0.975) * rest.std(ddof=1) / math.sqrt(len(rest))
    share = {"value": rest.mean(), "lo": max(0.0, rest.mean() - half), "hi": rest.mean() + half}
    found = {"factor": FACTORS[at], "images": len(chosen), "held_out": len(rest)}
    return {**nothing, **found, "uncovered": {key: float(value) for key, value in share.items()}}
