"""The posterior of a Gaussian field by dense matrices."""

import torch
from torch import Tensor

from invkit.physics.gaussian import GaussianField, MaternField
from invkit.physics.measurement import Measurement

FIELD = MaternField(std=0.8, length=0.3, exponent=2.0, color=0.5)


def conditioned(mean: Tensor, prior: Tensor, values: Tensor, matrices: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Means (B, N) and covariances (B, N, N) of N(mean, prior) given values (B, M) of matrices (B, M, N) and noise."""
    means, covariances = [], []
    for y, a in zip(values, matrices, strict=True):
        kept = a.abs().sum(1) > 0
        a, y = a[kept], y[kept]
        noise = max(sigma, 1e-6) ** 2 * torch.eye(len(a), dtype=torch.float64)
        gain = prior @ a.T @ torch.linalg.inv(a @ prior @ a.T + noise)
        means.append(mean + gain @ (y - a @ mean))
        covariances.append(prior - gain @ a @ prior)
    return torch.stack(means), torch.stack(covariances)


def closed_form(field: GaussianField, measurement: Measurement, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B, C, H, W) and covariances (B, CHW, CHW) of a field without a mean, from float64 values."""
    grid, n = measurement.grid, measurement.grid.pixels * measurement.grid.channels
    prior = field.covariance(torch.eye(n, dtype=torch.float64).view(n, *grid.picture), grid).view(n, n)
    zero = torch.zeros(n, dtype=torch.float64)
    means, covariances = conditioned(zero, prior, measurement.y.flatten(1), matrices, measurement.sigma)
    return means.view(-1, *grid.picture), covariances
