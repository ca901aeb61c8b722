"""Kriging by moving neighbourhoods (Chilès & Delfiner 2012, chapter 3), for masks of more values than dense kriging solves.

The image is cut into windows, and each is kriged from the observed values nearest to it. Values further away have little influence
where others lie in between (the screening effect). The values nearest to a window within a hole all lie on one side of it, so half
of the values are the nearest to the window among those that have few others between them and the hole.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from invkit.core.grid import Grid
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.kriging import NUGGET, inverted, squares
from invkit.physics.measurement import Measurement

NEAREST = 512  # values that a window is kriged from
SHARE = 4  # a window holds one in so many of them
LAYER = 10.0  # a layer of values before a hole counts as so many pixels of distance
LAYERS = 8  # largest number of layers that is counted


class LocalKriging(NamedTuple):
    """The posterior of a one-channel field given a mask, each window from the values nearest to it."""

    mean: Tensor  # (S, B, 1, H, W): posterior mean minus prior mean
    variance: Tensor  # (B, 1, H, W)
    weights: Tensor  # (S, B, 1, H, W), see `GaussianPosterior.weights`
    loo_error: Tensor  # (B,), see `GaussianPosterior.loo_error`

    @classmethod
    def of(
        cls,
        field: GaussianField,  # of one channel
        measurement: Measurement,  # of one channel, by a mask
        r: Tensor,  # (S, B, 1, H, W): values minus their prior mean, zero where hidden
        nearest: int = NEAREST,
    ) -> "LocalKriging":
        observed, grid = measurement.observed, measurement.grid
        assert observed is not None
        flat, values = observed.flatten(1), r.flatten(2).permute(1, 2, 0)  # (B, N) and (B, N, S)
        count = min(nearest, int(flat.sum(1).max()))
        mean, variance, weights = torch.zeros_like(values), torch.zeros_like(values[..., 0]), torch.zeros_like(values)
        prior = field.variance(grid).to(r).flatten()
        if count == 0:
            spread = prior.view(grid.picture).expand(len(flat), -1, -1, -1)
            return cls(torch.zeros_like(r), spread, torch.zeros_like(r), torch.ones_like(variance[:, 0]))
        noise = max(measurement.sigma**2, NUGGET * field.pixel_std(grid) ** 2)
        total, used = variance.new_zeros(len(flat)), variance.new_zeros(len(flat))
        layers = _layers(observed).flatten(1)
        for window, away in _windows(grid, float(flat.float().mean()), nearest, flat.device):
            near, points = _neighbours(torch.where(flat, away, math.inf), layers, count)
            valid = near.isfinite()
            both = torch.cat([points, window.expand(len(flat), -1)], 1)
            gram = field.gram(grid, points, r, both)
            own = gram[:, :, :count] * (valid[:, :, None] & valid[:, None])
            own.diagonal(dim1=1, dim2=2).add_(torch.where(valid, noise, 1.0))
            lower = inverted(factorise(own)).to(r)
            white = lower @ (values.gather(1, points[:, :, None].expand(-1, -1, len(r))) * valid[:, :, None])
            cross = gram[:, :, count:] * valid[:, :, None]
            mean[:, window] = (lower @ cross).mT @ white
            variance[:, window] = (prior[window] - squares(lower, cross)).clamp(min=0)
            inside = valid & (near == 0)  # each value is used once, in its own window, with neighbours on all sides
            own = (lower.mT @ white) * inside[:, :, None]
            weights.scatter_add_(1, points[:, :, None].expand_as(own), own)
            errors = own.square().sum(2) / lower.square().sum(1)
            total, used = total + errors.sum(1), used + len(r) * inside.sum(1)
        loo_error = torch.where(used > 0, total / used.clamp(min=1), 1.0).sqrt()
        mean, weights = (x.permute(2, 0, 1).view_as(r) for x in (mean, weights))
        return cls(mean, variance.view(-1, 1, *grid.shape), weights, loo_error)


def _layers(observed: Tensor) -> Tensor:
    """How many layers of observed pixels lie between a pixel and the hidden ones (B, 1, H, W), at most `LAYERS`."""
    hidden = functional.pad((~observed).float(), (1, 1, 1, 1))
    layers = torch.zeros_like(observed, dtype=torch.float32)
    for _ in range(LAYERS):
        reached = functional.max_pool2d(hidden, 3, 1)
        layers, hidden = layers + 1 - reached, functional.pad(reached, (1, 1, 1, 1))
    return layers


def _neighbours(distance: Tensor, layers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distance, infinite where none is left, and place of `count` values (B, count), from those of all pixels (B, N)."""
    near, points = distance.topk(count - count // 2, largest=False)
    left = distance.scatter(1, points, math.inf)
    others = (left + LAYER * layers).topk(count // 2, largest=False).indices
    return torch.cat([near, left.gather(1, others)], 1), torch.cat([points, others], 1)


def _windows(grid: Grid, density: float, nearest: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The pixels (n,) of each window, and the distance (N,) of all pixels from it, in pixels."""
    side = max(1, math.isqrt(int(nearest / SHARE / max(density, 1e-6))))
    rows, columns = torch.arange(grid.height, device=device), torch.arange(grid.width, device=device)

    def cuts(n: int) -> list[tuple[int, int]]:
        parts = -(-n // side)
        ends = [round(n * i / parts) for i in range(parts + 1)]
        return list(pairwise(ends))

    def apart(line: Tensor, first: int, end: int) -> Tensor:
        return torch.maximum(first - line, line - (end - 1)).clamp(min=0).float()

    for top, bottom in cuts(grid.height):
        for left, right in cuts(grid.width):
            pixels = rows[top:bottom, None] * grid.width + columns[left:right]
            away = torch.hypot(apart(rows, top, bottom)[:, None], apart(columns, left, right))
            yield pixels.flatten(), away.flatten()


def factorise(gram: Tensor) -> Tensor:
    """The Cholesky factor, in float64 where float32 does not suffice (smooth fields, close points); waits for the device."""
    factor, info = torch.linalg.cholesky_ex(gram)
    return torch.linalg.cholesky(gram.double()) if bool(info.any()) else factor
