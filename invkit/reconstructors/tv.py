"""Total variation: the image of least total variation that fits the measurement."""

import math

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator, linear
from invkit.reconstructors.base import PointEstimate

BALANCE = 0.3  # primal relative to dual step size; of 0.1, 0.3 and 1 it converges fastest on masks and second on blurs
POWER_STEPS = 30
SLACK = 1.05  # factor on the norm, as the power method underestimates it


class TotalVariation(PointEstimate):
    """The image of least total variation with `|A x - y|^2 <= M sigma^2` (Rudin, Osher & Fatemi 1992).

    M is the number of measured values, so without noise `A x = y`. The total variation is isotropic and couples the channels:
    `cell * sum |D x|` with the norm over both forward differences of all channels in a cell; differences across the border are
    zero. The constraint needs no weight that would depend on units or grid. Solved by `steps` primal-dual steps (Chambolle &
    Pock 2011, algorithm 1, theta = 1), started from the best constant colour plus the pseudo-inverse of its residual.
    """

    name = "tv"  # type: ignore[misc]
    steps: int = Field(500, ge=1, description="primal-dual steps; there is no early stopping")

    def mean(self, measurement: Measurement) -> Tensor:
        operator, y, grid = linear(measurement.operator, self.name), measurement.y, measurement.grid
        norm = operator_norm(operator, y)
        # Scales the measured values such that A has the same norm as D, at most sqrt(8).
        gain = math.sqrt(8) / norm.view(-1, *[1] * (y.ndim - 1)).clamp(min=1e-30)
        weight = grid.area / operator.range_weight
        count = operator.measured(torch.ones_like(y)).flatten(1).sum(1).view_as(gain)
        radius = gain * measurement.sigma * count.sqrt()
        target = gain * y
        primal, dual = BALANCE / 4, 1 / (4 * BALANCE)  # step sizes; their product times |K|^2 is one

        x = start(operator, y)
        p, q = torch.zeros(len(x), 2, *grid.picture).to(x), torch.zeros_like(y)
        extrapolated = x
        for _ in range(self.steps):
            p = p + dual * differences(extrapolated)
            p = p / p.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1)
            q = _shrink(q + dual * (gain * operator.forward(extrapolated) - target), dual * radius)
            gradient = operator.adjoint(gain * q) * weight - divergence(p)
            new = x - primal * gradient
            extrapolated, x = 2 * new - x, new
        return x


def start(operator: LinearOperator, y: Tensor) -> Tensor:
    """The best constant colour plus the pseudo-inverse of its residual."""
    constant = constant_colour(operator, y)[:, :, None, None].expand(-1, *operator.grid.picture)
    return constant + operator.pinv(y - operator.forward(constant.contiguous()))


def constant_colour(operator: LinearOperator, y: Tensor) -> Tensor:
    """Least-squares fit of a constant colour to each measurement, of minimum norm: `N^+ y` (B, C) with columns `A 1_c` of N."""
    channels, shape = operator.grid.channels, (len(operator), *operator.grid.picture)
    units = torch.eye(channels, dtype=y.dtype, device=y.device)[:, None, :, None, None].expand(-1, *shape)
    n = torch.stack([operator.forward(unit.contiguous()).flatten(1) for unit in units], 1)  # (B, C, M)
    return (torch.linalg.pinv(n @ n.mT, rtol=1e-5, hermitian=True) @ (n @ y.flatten(1)[:, :, None]))[..., 0]


def differences(x: Tensor) -> Tensor:
    """`D x`: forward differences along rows and columns, zero across the border; (B, C, H, W) to (B, 2, C, H, W)."""
    d = x.new_zeros(len(x), 2, *x.shape[1:])
    d[:, 0, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    d[:, 1, ..., :-1] = x[..., 1:] - x[..., :-1]
    return d


def divergence(p: Tensor) -> Tensor:
    """`-D^T p`: (B, 2, C, H, W) to (B, C, H, W)."""
    d = torch.zeros_like(p[:, 0])
    d[:, :, :-1] += p[:, 0, :, :-1]
    d[:, :, 1:] -= p[:, 0, :, :-1]
    d[..., :-1] += p[:, 1, ..., :-1]
    d[..., 1:] -= p[:, 1, ..., :-1]
    return d


def total_variation(x: Tensor, cell: float) -> Tensor:
    """`cell * sum |D x|` of images (B, C, H, W): (B,), in length times pixel units.

    >>> x = torch.zeros(1, 1, 4, 4)
    >>> x[..., 2:] = 1
    >>> float(total_variation(x, 1 / 4))
    1.0
    """
    return cell * differences(x).square().sum((1, 2)).sqrt().sum((1, 2))


def operator_norm(operator: LinearOperator, like: Tensor) -> Tensor:
    """Spectral norms (B,) of the matrices of `A`, by the power method from a keyed start, times `SLACK`."""
    x = Keys.of(0, "tv/norm", [0], like.device).normal("start", *operator.grid.picture).to(like)
    x, weight = x.expand(len(operator), *x.shape[1:]).contiguous(), operator.grid.area / operator.range_weight
    size = x.new_ones(len(x))
    for _ in range(POWER_STEPS):
        size = x.flatten(1).norm(dim=1)
        x = operator.adjoint(operator.forward(x / size.clamp(min=1e-30).view(-1, 1, 1, 1))) * weight
    return SLACK * x.flatten(1).norm(dim=1).sqrt()


def _shrink(q: Tensor, radius: Tensor) -> Tensor:
    """Shorten each vector of a batch by `radius` (B, 1, ...); zero if it is shorter."""
    size = q.flatten(1).norm(dim=1).view_as(radius)
    return q * (1 - radius / size.clamp(min=1e-30)).clamp(min=0)
