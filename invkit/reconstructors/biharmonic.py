"""Biharmonic interpolation: the picture of least bending that explains the measurement."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.gaussian import dct, idct
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import ConstantColour, PointEstimate

EXACT = 1e-4  # without noise a measurement is to_user_error to this share of its norm, or as far as STEPS lead

STEPS = 300  # dimensions of the Krylov space in which an operator that is no mask is solved

STORED = 1 << 24  # numbers that the bases of the pictures solved together may hold


class Biharmonic(PointEstimate):
    """The image of least bending that explains the measurement: the minimiser of `|L x|^2` with `|A x - y|^2 <= M sigma^2`.

    M is the number of measured values, and `L` the five-point Laplacian with reflecting borders, of each channel. A mask
    without noise keeps what it shows and has `L^2 x = 0` where nothing is seen: solved by a sparse factorisation. All else is
    solved in a Krylov space, with the weight of the bending found by the discrepancy principle (Morozov 1966): a fit no
    closer than the noise. Constants cost nothing, so they are fitted first.
    """

    name = "biharmonic"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        if measurement.observed is not None and measurement.sigma == 0:
            return _filled(measurement.y, measurement.observed)
        together = max(1, STORED // (STEPS * measurement.y[0].numel()))
        parts = [measurement[i : i + together] for i in range(0, len(measurement), together)]
        return torch.cat([_smoothest(part) for part in parts]).to(measurement.y)


def _filled(y: Tensor, observed: Tensor) -> Tensor:
    """The pictures (B, C, H, W) that are y where observed (B, 1 or C, H, W) and biharmonic elsewhere; zero if nothing is seen."""
    from scipy.sparse.linalg import splu

    matrix, out = _squared_laplacian(Grid(*y.shape[2:])), y.cpu().double().numpy()
    for picture, masks in zip(out, observed.cpu().flatten(2).numpy(), strict=True):
        values = picture.reshape(len(picture), -1)  # a view
        for c, seen in enumerate(masks):
            if seen.all() or not seen.any():
                continue
            own = slice(None) if len(masks) == 1 else slice(c, c + 1)
            rows = matrix[~seen]
            factor = splu(rows[:, ~seen].tocsc(), permc_spec="MMD_AT_PLUS_A")
            values[own, ~seen] = factor.solve(-(rows[:, seen] @ values[own, seen].T)).T
    return torch.from_numpy(out).to(y)


@lru_cache(maxsize=4)
def _squared_laplacian(grid: Grid) -> Any:
    """`L^2` as a sparse matrix over the cells in reading order."""
    from scipy import sparse

    axes = []
    for n in grid.shape:
        degree = 2 * np.ones(n) - (np.arange(n) == 0) - (np.arange(n) == n - 1)
        axes.append(sparse.diags([np.ones(n - 1), -degree, np.ones(n - 1)], [-1, 0, 1], format="csr"))
    laplacian = sparse.kronsum(axes[1], axes[0], format="csr")
    return laplacian @ laplacian


def bending(grid: Grid) -> Tensor:
    """Eigenvalues of `L^2` in the cosine modes: (H, W) float64, in units of the cell.

    >>> bending(Grid(1, 2)).round().tolist()
    [[0.0, 4.0]]
    """
    rows, columns = (2 - 2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n) for n in grid.shape)
    return (rows[:, None] + columns).square()


def _smoothest(measurement: Measurement) -> Tensor:
    """The minimiser (B, C, H, W) float64 for any operator.

    It is `G A^T w + c` with `G` the inverse of the bending and c a constant colour, where `P A G A^T P w + mu w = P y`, `P`
    takes out what a constant explains, and `mu w` is the residual. The steps of Lanczos (1950) do not know `mu`.
    """
    operator, grid, y = measurement.operator, measurement.grid, measurement.y.double()
    colour, energy = ConstantColour(operator, y), bending(grid).to(y)
    compliance = torch.where(energy > 0, 1 / energy, 0) * (grid.area / operator.range_weight)

    def lifted(w: Tensor) -> Tensor:
        return idct(dct(operator.adjoint(w.view_as(y))) * compliance)

    def projected(w: Tensor) -> Tensor:
        return (w - colour.to_user_error(w)).flatten(1)

    r = projected(y)
    size = r.norm(dim=1)
    count = operator.measured(torch.ones_like(y)).flatten(1).sum(1)
    allowed = torch.maximum(count * measurement.sigma**2, (EXACT * y.flatten(1).norm(dim=1)) ** 2)
    vectors = [_unit(r)]
    alpha: list[Tensor] = []
    beta: list[Tensor] = []
    for step in range(1, STEPS + 1):
        u = projected(operator.forward(lifted(vectors[-1])))
        alpha.append((u * vectors[-1]).sum(1))
        u = u - alpha[-1][:, None] * vectors[-1] - (beta[-1][:, None] * vectors[-2] if beta else 0)
        beta.append(u.norm(dim=1))
        if step % 20 == 0 or step == STEPS:
            z = _coordinates(torch.stack(alpha, 1), torch.stack(beta[:-1], 1), size, allowed)
            if bool(((beta[-1] * z[:, -1]) ** 2 <= 1e-4 * allowed).all()):
                break
        vectors.append(_unit(u))
    w = sum(z[:, i, None] * vector for i, vector in enumerate(vectors[: z.shape[1]]))
    assert isinstance(w, Tensor)
    x = lifted(w)
    return x + colour.fit(y - operator.forward(x))[:, :, None, None]


def _unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=1, keepdim=True).clamp(min=1e-30)


def _coordinates(
    alpha: Tensor,  # (B, n): diagonal
    beta: Tensor,  # (B, n - 1): beside it
    size: Tensor,  # (B,)
    allowed: Tensor,  # (B,)
) -> Tensor:
    """The z (B, n) with `T z + mu z = size e_1` and `|mu z|^2 = allowed`, or mu at the end of its range."""
    t = torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)
    value, vector = torch.linalg.eigh(t)
    value, share = value.clamp(min=0), vector[:, 0] * size[:, None]
    scale = value[:, -1:].clamp(min=1e-30)
    low, high = (
        torch.full_like(size, -35.0),
        torch.full_like(size, 35.0),
    )  # natural logarithms of mu in units of `scale`
    for _ in range(60):
        middle = (low + high) / 2
        mu = middle.exp()[:, None] * scale
        closer = (mu * share / (value + mu)).square().sum(1) <= allowed
        low, high = torch.where(closer, middle, low), torch.where(closer, high, middle)
    mu = low.exp()[:, None] * scale
    return (vector @ (share / (value + mu))[:, :, None])[..., 0]
