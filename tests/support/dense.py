"""The posterior of a Gaussian field by dense matrices."""

import torch
from torch import Tensor

from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Measurement

FIELD = MaternField(std=0.8, length=0.3, exponent=2.0, color=0.5)


def closed_form(field, measurement: Measurement, matrices: Tensor) -> tuple[Tensor, Tensor]:
    grid, n = measurement.grid, measurement.grid.pixels * measurement.grid.channels
    prior = field.covariance(torch.eye(n, dtype=torch.float64).view(n, *grid.picture), grid).view(n, n)
    means, covariances = [], []
    for y, a in zip(measurement.y.flatten(1), matrices, strict=True):
        kept = a.abs().sum(1) > 0
        a, y = a[kept], y[kept]
        gain = (
            prior
            @ a.T
            @ torch.linalg.inv(a @ prior @ a.T + max(measurement.sigma, 1e-6) ** 2 * torch.eye(len(a)).double())
        )
        means.append((gain @ y).view(grid.picture))
        covariances.append(prior - gain @ a @ prior)
    return torch.stack(means), torch.stack(covariances)
