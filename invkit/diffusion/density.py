"""The sampling density of a mask relative to that of the training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.physics.measurement import Measurement


def distance(
    observed: Tensor,  # (B, 1 or C, H, W) boolean
) -> Tensor:
    """Mean distance of values from the nearest seen one, by rows or columns, whichever is further: (B,) lengths.

    >>> distance(torch.tensor([True, False, False, False]).view(1, 1, 1, 4).repeat(1, 1, 4, 1))
    tensor([0.3750], dtype=torch.float64)
    """
    seen, total = observed.float(), torch.zeros(len(observed), dtype=torch.float64, device=observed.device)
    for _ in range(max(observed.shape[2:])):
        left = (1 - seen).mean((1, 2, 3), dtype=torch.float64)
        if not left.any():
            break
        total = total + left
        seen = F.max_pool2d(seen, 3, 1, 1)
    return total / min(observed.shape[2:])


def zooms(
    measurement: Measurement,
    closest: float | None,  # the shortest distance in training
    finest: float,  # resolution of the measurement's grid relative to the network's
) -> Tensor:
    """Ratio of a mask's sampling density to the densest in training, (B,): from 1 to `finest`, in steps of sqrt(2)."""
    if measurement.observed is None or closest is None or finest <= 1:
        return torch.ones(len(measurement), dtype=torch.float64)
    zoom = closest / distance(measurement.observed).cpu().clamp(min=1e-6)
    steps = (2 * (finest / zoom.clamp(1, finest)).log2()).round()
    return (finest * 2 ** (-steps / 2)).clamp(min=1)


def density_ratio(
    measurement: Measurement,
    known: Tensor | None,  # (4, 2): what `bounds` gave
) -> Tensor:
    """See `ConditionalModel.density_ratio`."""
    usual = 0.0 if known is None else math.sqrt(float(known[3].prod()))
    if measurement.observed is None or not 0 < usual < math.inf:
        return torch.ones(len(measurement), dtype=torch.float64)
    closer = usual / distance(measurement.observed).cpu().clamp(min=1e-6)
    return 2 ** ((2 * closer.clamp(1 / 8, 8).log2()).round() / 2)
