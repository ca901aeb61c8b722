"""Out-of-distribution check: summary statistics of measurements against their ranges in training."""

import torch
from torch import Tensor

from invkit.diffusion.density import distance
from invkit.physics.gaussian import GaussianField, inner
from invkit.physics.measurement import Measurement

STATISTICS = (  # in words, where a statistic is below and where it is above the training
    ("fewer values measured", "more values measured"),
    ("less contrast", "more contrast or another brightness"),
    ("less fine detail", "more fine detail"),
    ("observed pixels closer together", "observed pixels farther apart"),
)

QUANTILES = (0.005, 0.995)  # of the training images
FLOOR = 1e-5  # smallest eigenvalue used for the roughness, as a share of the largest: below is rounding error

# Factors by which the ranges extend beyond the quantiles, which few photographs determine only roughly.
MARGINS = (1.25, 2.0, 2.0, 1.25)


def statistics(
    estimate: Tensor,  # (B, C, H, W): mean of the initial estimate
    measurement: Measurement,
    prior: GaussianField,
) -> Tensor:
    """The statistics of measurements, (B, 4) float64.

    1. The number of measured values over that of the image: sensitive to the degradation.
    2. The energy: the mean square of `f`, the estimate minus the prior mean, over the prior variance: brightness and contrast.
    3. The roughness: `<f, C^-1 f>` per measured value, with C the prior covariance operator: values that vary faster than in the
       training images. For kriging without noise this is `r^T K^-1 r / n` of the n values r, whose mean is one under the prior.
    4. The `distance` from the pixels that a mask observes, 0 for other operators: the sampling density on the domain, which the
       share of observed pixels does not determine across grids.
    """
    grid, operator = measurement.grid, measurement.operator
    values = operator.measured(torch.ones_like(measurement.y)).double().flatten(1).sum(1)
    f = (estimate - prior.centre(grid, estimate)).double()
    energy = f.square().mean((1, 2, 3)) / prior.pixel_std(grid) ** 2
    roughness = inner(f, prior.operator(f, grid, -1.0, FLOOR), grid) / values.clamp(min=1)
    away = torch.zeros_like(values) if measurement.observed is None else distance(measurement.observed)
    return torch.stack([values / (grid.channels * grid.pixels), energy, roughness, away], 1)


def bounds(
    values: Tensor,  # (N, 4)
) -> Tensor:
    """The range of each statistic over the training images: (4, 2) float64, low and high."""
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype, device=values.device), 0).T.contiguous()


def warning(
    values: Tensor,  # (B, 4)
    ranges: Tensor,  # (4, 2): from `bounds`
    what: str = "measurements",
    tolerated: float = 0.0,  # share of them that may lie outside
) -> str | None:
    """One line about measurements that are out of distribution, or None.

    >>> ranges = torch.tensor([[0.1, 0.1], [0.2, 2.0], [0.5, 2.0], [0.2, 0.3]], dtype=torch.float64)
    >>> warning(torch.tensor([[0.1, 1.0, 1.0, 0.2], [0.1, 0.01, 1.0, 0.2]], dtype=torch.float64), ranges)
    '1 of 2 measurements are out of distribution: less contrast than in training (0.01, there 0.2 to 2)'
    >>> warning(torch.tensor([[0.11, 1.0, 1.0, 0.2]], dtype=torch.float64), ranges)
    """
    values, ranges, margins = values.cpu(), ranges.cpu(), torch.tensor(MARGINS, dtype=ranges.dtype)
    below, above = values < ranges[:, 0] / margins, values > ranges[:, 1] * margins
    count = int((below | above).any(1).sum())
    if count <= tolerated * len(values):
        return None
    found = []
    for i, words in enumerate(STATISTICS):
        low, high = (_number(i, end) for end in ranges[i])
        usual = low if low == high else f"{low} to {high}"
        for word, outside, extreme in ((words[0], below, values[:, i].min()), (words[1], above, values[:, i].max())):
            if outside[:, i].any():
                found.append(f"{word} than in training ({_number(i, extreme)}, there {usual})")
    return f"{count} of {len(values)} {what} are out of distribution: {'; '.join(found)}"


def _number(statistic: int, value: Tensor) -> str:
    return f"{100 * float(value):.3g} %" if statistic == 0 else f"{float(value):.3g}"
