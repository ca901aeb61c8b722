"""Whether measurements look like those that a model was trained on: cheap statistics of them beside their ranges in training."""

import torch
from torch import Tensor

from invkit.diffusion.density import distance
from invkit.physics.gaussian import GaussianField, inner
from invkit.physics.measurement import Measurement

STATISTICS = (
    "share of the values measured",
    "energy of the fill",
    "roughness of the fill",
    "distance from what is seen",
)

QUANTILES = (0.005, 0.995)  # of the training pictures

FLOOR = 1e-5  # share of the largest power below which roughness is not looked for: rounding lives there

# The ranges end this factor beyond the quantiles: few photographs do not tell them better.
MARGINS = (1.25, 2.0, 2.0, 1.25)


def statistics(
    fill: Tensor,  # (B, C, H, W)
    measurement: Measurement,
    prior: GaussianField,
) -> Tensor:
    """The statistics of measurements whose fill is known, (B, 4) float64.

    How many values were measured, in units of those of a picture: other degradations. The mean square of `f`, the fill less
    the prior's mean, in units of the prior's variance: other brightness and contrast. `<f, C^-1 f>` for each value measured,
    with C the prior's covariance operator: values that vary faster than the pictures do. For a kriged fill without noise
    that is `r^T K^-1 r / n` of the values r, one on average for draws of the prior. The `distance` from what a mask shows, 0 for
    other operators: sensors closer together or further apart, though they be the same share of another grid.
    """
    grid, operator = measurement.grid, measurement.operator
    values = operator.measured(torch.ones_like(measurement.y)).double().flatten(1).sum(1)
    f = (fill - prior.centre(grid, fill)).double()
    energy = f.square().mean((1, 2, 3)) / prior.deviation(grid) ** 2
    roughness = inner(f, prior.operator(f, grid, -1.0, FLOOR), grid) / values.clamp(min=1)
    away = torch.zeros_like(values) if measurement.observed is None else distance(measurement.observed)
    return torch.stack([values / (grid.channels * grid.pixels), energy, roughness, away], 1)


def bounds(
    values: Tensor,  # (N, 4)
) -> Tensor:
    """The range of each statistic over training pictures: (4, 2) float64, low and high."""
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype, device=values.device), 0).T.contiguous()


def warning(
    values: Tensor,  # (B, 4)
    known: Tensor,  # (4, 2): what `bounds` gave
    what: str = "measurements",
    tolerated: float = 0.0,  # share of them that may lie outside
) -> str | None:
    """One line about measurements that look unlike those of the training, or None.

    >>> known = torch.tensor([[0.1, 0.1], [0.2, 2.0], [0.5, 2.0], [0.2, 0.3]], dtype=torch.float64)
    >>> warning(torch.tensor([[0.1, 1.0, 1.0, 0.2], [0.1, 9.0, 1.0, 0.2]], dtype=torch.float64), known)
    '1 of 2 measurements look unlike those of the training: energy of the fill up to 9 (in training 0.2 to 2)'
    >>> warning(torch.tensor([[0.11, 1.0, 1.0, 0.2]], dtype=torch.float64), known)
    """
    values, known, margins = values.cpu(), known.cpu(), torch.tensor(MARGINS, dtype=known.dtype)
    below, above = values < known[:, 0] / margins, values > known[:, 1] * margins
    count = int((below | above).any(1).sum())
    if count <= tolerated * len(values):
        return None
    said = []
    for name, v, low, high, less, more in zip(STATISTICS, values.T, *known.T, below.T, above.T, strict=True):
        ends = [f"down to {float(v.min()):.3g}"] * bool(less.any()) + [f"up to {float(v.max()):.3g}"] * bool(more.any())
        if ends:
            said.append(f"{name} {', '.join(ends)} (in training {float(low):.3g} to {float(high):.3g})")
    return f"{count} of {len(values)} {what} look unlike those of the training: {'; '.join(said)}"
