"""The sampling density of a mask relative to the training masks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.physics.measurement import Measurement


def distance(
    observed: Tensor,  # (B, 1 or C, H, W) boolean
) -> Tensor:
    """Mean distance of a pixel from the nearest observed one, in the maximum norm, (B,): in units of the shorter side.

    >>> distance(torch.tensor([True, False, False, False]).view(1, 1, 1, 4).repeat(1, 1, 4, 1))
    tensor([0.3750], dtype=torch.float64)
    """
    near, total = observed.float(), torch.zeros(len(observed), dtype=torch.float64, device=observed.device)
    for _ in range(max(observed.shape[2:])):
        left = (1 - near).mean((1, 2, 3), dtype=torch.float64)
        if not left.any():
            break
        total = total + left
        near = F.max_pool2d(near, 3, 1, 1)
    return total / min(observed.shape[2:])


def zooms(
    measurement: Measurement,
    closest: float | None,  # the shortest distance in training
    finest: float,  # resolution of the measurement's grid relative to the network's grid
) -> Tensor:
    """Ratio of a mask's sampling density to the densest in training: (B,) float64, from 1 to `finest`, in steps of sqrt(2).

    The network works on a grid that is finer by this ratio. One for operators that are no masks.
    """
    if measurement.observed is None or closest is None or finest <= 1:
        return torch.ones(len(measurement), dtype=torch.float64)
    zoom = closest / distance(measurement.observed).cpu().clamp(min=1e-6)
    steps = (2 * (finest / zoom.clamp(1, finest)).log2()).round()
    return (finest * 2 ** (-steps / 2)).clamp(min=1)


def density_ratio(
    measurement: Measurement,
    ranges: Tensor | None,  # (4, 2): of the statistics in training, see `out_of_distribution.bounds`
) -> Tensor:
    """Ratio of a mask's sampling density to the geometric middle of training: (B,) float64, 1/8 to 8, in steps of sqrt(2).

    The residual field is finer by this ratio. One for operators that are no masks.
    """
    usual = 0.0 if ranges is None else math.sqrt(float(ranges[3].prod()))
    if measurement.observed is None or not 0 < usual < math.inf:
        return torch.ones(len(measurement), dtype=torch.float64)
    closer = usual / distance(measurement.observed).cpu().clamp(min=1e-6)
    return 2 ** ((2 * closer.clamp(1 / 8, 8).log2()).round() / 2)
