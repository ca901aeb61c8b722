"""The sampling density of a mask relative to the training masks."""

import math

import torch
from torch import Tensor

from invkit.physics.measurement import Measurement

STEPS = 6  # the density ratio is 2^(k / 2), with k from -6 to 6
SLACK = 1.1  # masks of the training may be closer or farther apart than the training ranges by this factor
AT_ONCE = 2**25  # distances that are compared together


def distance(
    observed: Tensor,  # (B, 1 or C, H, W) boolean
) -> Tensor:
    """Mean distance of a pixel from the nearest observed one, in the maximum norm, (B,): in units of the shorter side.

    Where nothing is observed, it is that of the longer side. The distance is the minimum, over the rows, of the larger one of the
    distance to the row and the distance within it.

    >>> distance(torch.tensor([True, False, False, False]).view(1, 1, 1, 4).repeat(1, 1, 4, 1))
    tensor([0.3750], dtype=torch.float64)
    """
    height, width = observed.shape[2:]
    longest = float(max(height, width))
    row, column = (torch.arange(n, dtype=torch.float32, device=observed.device) for n in (height, width))
    left = torch.where(observed, column, -longest).cummax(3).values
    right = torch.where(observed, column, width + longest).flip(3).cummin(3).values.flip(3)
    within = torch.minimum(column - left, right - column)
    apart = (row[:, None] - row).abs()[:, :, None]  # (H, H, 1)
    nearest = [
        torch.maximum(part, within.unsqueeze(2)).amin(3)
        for part in apart.split(max(1, AT_ONCE // within[0].numel() // len(within)))
    ]
    return torch.cat(nearest, 2).clamp(max=longest).mean((1, 2, 3), dtype=torch.float64) / min(height, width)


def zooms(
    measurement: Measurement,
    closest: float | None,  # the shortest distance in training
    finest: float,  # resolution of the measurement's grid relative to the network's grid
) -> Tensor | None:
    """Ratio of a mask's sampling density to the densest in training: (B,) float64, from 1 to `finest`, in steps of sqrt(2).

    The network works on a grid that is finer by this ratio. None where all are one without looking at the mask: for operators that
    are no masks, and on grids that are no finer than the network's.
    """
    if measurement.observed is None or not closest or finest <= 1:
        return None
    zoom = closest / distance(measurement.observed).clamp(min=1e-6)
    steps = (2 * (finest / zoom.clamp(1, finest)).log2()).round()
    return (finest * 2 ** (-steps / 2)).clamp(min=1)


def density_steps(
    measurement: Measurement,
    ranges: Tensor | None,  # (4, 2): of the statistics in training, see `out_of_distribution.bounds`
) -> Tensor | None:
    """Ratio of a mask's sampling density to the geometric middle of training, as its logarithm to the base sqrt(2): (B,) int64.

    The residual field is finer by this ratio, which is from 1/8 to 8. None where all are one: for operators that are no masks, and
    where the range in training is unknown.
    """
    usual = _usual(ranges)
    if measurement.observed is None or not usual:
        return None
    return _steps(usual / distance(measurement.observed).clamp(min=1e-6)).long()


def density_ratio(measurement: Measurement, ranges: Tensor | None) -> Tensor:
    """The ratio itself, (B,) float64: see `density_steps`."""
    steps = density_steps(measurement, ranges)
    zero = torch.zeros(len(measurement), dtype=torch.float64)
    return 2 ** ((zero if steps is None else steps.double()) / 2)


def training_steps(ranges: Tensor | None) -> range:
    """The values of `density_steps` in training."""
    if not (usual := _usual(ranges)):
        return range(1)
    assert ranges is not None
    low, high = (_steps(usual / (ranges[3] * torch.tensor([1 / SLACK, SLACK])))).flip(0).int().tolist()
    return range(low, high + 1)


def _usual(ranges: Tensor | None) -> float:
    """The geometric middle of the distances in training; zero where it is unknown."""
    usual = 0.0 if ranges is None else math.sqrt(float(ranges[3].prod()))
    return usual if usual < math.inf else 0.0


def _steps(ratio: Tensor) -> Tensor:
    return (2 * ratio.clamp(1 / 8, 8).log2()).round()
