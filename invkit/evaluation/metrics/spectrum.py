"""Error of the power spectrum of reconstructions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.grid import Grid
from invkit.evaluation.metrics.base import Means, Metric, Outcome
from invkit.physics.gaussian.basis import dct, frequencies

LIMIT = 60  # dB, the largest error of a band; that of an empty one


def bands(grid: Grid, device: torch.device | None = None) -> Tensor:
    """The half-octave of each mode's frequency, (H, W) integers from 0 up; -1 for the mean.

    Frequencies count half-cycles over the shorter side along both axes, `f^2 = i^2 + j^2` on a square.

    >>> bands(Grid(3, 3))
    tensor([[-1,  0,  2],
            [ 0,  1,  2],
            [ 2,  2,  3]])
    """
    square = frequencies(grid, device).square().sum(0)
    octave = (square.log2() + 1e-9).floor()  # an octave of the square is half an octave of the frequency
    return torch.where(square > 0, octave - octave[square > 0].min(), -1).long()


class SpectralError(Metric):
    """Error of the power spectrum in dB: 0 if estimates have the power of the truth at every scale.

    The root mean square over half-octaves of frequency of `10 log10(P / T)`. T is the power of the truth in a half-octave
    of the cosine basis, over channels and images; P is that of the estimates (for a sample row, of all K samples),
    unclipped, with exactly observed pixels pasted in. The mean brightness is left out. A blurred mean lacks high
    frequencies and has a large error; samples of the image distribution have a small one, even if they do not fit the data.
    """

    better = "lower"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        band = bands(outcome.measurement.grid, outcome.truth.device)
        results = [outcome.estimate] if outcome.samples is None else list(outcome.samples)
        power = {
            "estimate": sum(_power(outcome.measurement.paste(x)) for x in results) / len(results),
            "truth": _power(outcome.truth),
        }
        return {
            f"{name} {k}": (values * (band == k)).sum((1, 2))
            for name, values in power.items()
            for k in band.unique().tolist()
            if k >= 0
        }

    def reduce(self, means: Means) -> NDArray[np.float64]:
        octaves = [name.removeprefix("truth ") for name in means if name.startswith("truth ")]  # some may be empty
        ratios = [means[f"estimate {k}"] / means[f"truth {k}"] for k in octaves]
        errors = np.clip(10 * np.log10(np.stack(ratios)), -LIMIT, LIMIT)
        return np.sqrt(np.square(errors).mean(0))


def _power(x: Tensor) -> Tensor:
    """Power of each mode, summed over channels: (B, C, H, W) to (B, H, W) float64."""
    return dct(x.double()).square().sum(1)
