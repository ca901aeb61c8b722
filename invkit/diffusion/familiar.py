"""Whether measurements look like those that a model was trained on: two cheap statistics beside their ranges in training."""

import torch
from torch import Tensor

from invkit.degradation import Measurement
from invkit.field import GaussianField

STATISTICS = ("share of the values measured", "energy of the fill")
QUANTILES = (0.005, 0.995)  # of the training pictures
MARGIN = 1.25  # the range ends this much beyond the quantiles: a few hundred pictures do not tell them better


def statistics(
    fill: Tensor,  # (B, C, H, W)
    measurement: Measurement,
    prior: GaussianField,
) -> Tensor:
    """The statistics of measurements whose fill is known, (B, 2) float64.

    How many values were measured, in units of those of a picture; the mean square of the fill about the prior's mean, in
    units of the prior's variance. The first notices other degradations; the second other brightness, contrast and roughness,
    because a fill keeps little of what does not vary like the pictures.
    """
    grid, operator = measurement.grid, measurement.operator
    values = operator.measured(torch.ones_like(measurement.y)).double().flatten(1).sum(1)
    energy = (fill - prior.centre(grid, fill)).double().square().mean((1, 2, 3)) / prior.deviation(grid) ** 2
    return torch.stack([values / (grid.channels * grid.pixels), energy], 1)


def bounds(
    values: Tensor,  # (N, 2)
) -> Tensor:
    """The range of each statistic over training pictures: (2, 2) float64, low and high."""
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype, device=values.device), 0).T.contiguous()


def warning(
    values: Tensor,  # (B, 2)
    known: Tensor,  # (2, 2): what `bounds` gave
    what: str = "measurements",
    tolerated: float = 0.0,  # share of them that may lie outside
) -> str | None:
    """One line about measurements that look unlike those of the training, or None.

    >>> known = torch.tensor([[0.1, 0.1], [0.2, 2.0]], dtype=torch.float64)
    >>> warning(torch.tensor([[0.1, 1.0], [0.1, 9.0]], dtype=torch.float64), known)
    '1 of 2 measurements look unlike those of the training: energy of the fill up to 9 (in training 0.2 to 2)'
    >>> warning(torch.tensor([[0.11, 1.0]], dtype=torch.float64), known)
    """
    values, known = values.cpu(), known.cpu()
    below, above = values < known[:, 0] / MARGIN, values > known[:, 1] * MARGIN
    count = int((below | above).any(1).sum())
    if count <= tolerated * len(values):
        return None
    said = []
    for name, v, low, high, less, more in zip(STATISTICS, values.T, *known.T, below.T, above.T, strict=True):
        ends = [f"down to {float(v.min()):.3g}"] * bool(less.any()) + [f"up to {float(v.max()):.3g}"] * bool(more.any())
        if ends:
            said.append(f"{name} {', '.join(ends)} (in training {float(low):.3g} to {float(high):.3g})")
    return f"{count} of {len(values)} {what} look unlike those of the training: {'; '.join(said)}"
