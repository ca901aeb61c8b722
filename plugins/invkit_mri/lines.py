"""Which lines of k-space are measured."""

import torch
from torch import Tensor

from invkit.api import Keys


def chosen_lines(
    keys: Keys, height: int, acceleration: float, pattern: str, calibration: float, density: float
) -> Tensor:
    """The measured lines of each image, (B, n) int64 in increasing order; line `height // 2` has frequency zero.

    The calibration region comes first; the other lines are drawn without replacement (Efraimidis & Spirakis 2006) or spaced evenly.
    """
    count = max(1, round(height / acceleration))
    block = min(count, max(1, round(calibration * height)) if calibration else 0)
    frequency = torch.arange(height) - height // 2
    near = (frequency + 0.5).abs().argsort(stable=True)  # 0, -1, 1, -2, ...
    known, others = near[:block], near[block:].sort().values
    left = count - block
    if pattern == "equispaced":
        at = ((torch.arange(left, dtype=torch.float64) + 0.5) * len(others) / max(left, 1)).long()
        return torch.cat([known, others[at]]).sort().values.expand(len(keys), -1).to(keys.device)
    weight = torch.ones(len(others), dtype=torch.float64)
    if pattern == "variable":
        weight = (1 - frequency[others].abs() / (height / 2 + 1)) ** density
    u = keys.uniform("lines", max(len(others), 1))[:, : len(others)].double() + 2.0**-25
    drawn = (u.log() / weight.to(u)).topk(left, dim=1).indices
    lines = torch.cat([known.to(u.device).expand(len(keys), -1), others.to(u.device)[drawn]], 1)
    return lines.sort(1).values
