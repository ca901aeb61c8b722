"""Orthonormal bases of a rectangle as real matrices, low frequencies first; stationary operators are diagonal in them."""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from invkit.core.grid import Grid

Basis = Literal["cosine", "periodic"]


@lru_cache(maxsize=64)
def waves(n: int, basis: Basis, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Orthonormal matrix (mode, cell) of an axis of `n` cells.

    `cosine` (Neumann): the DCT-II, mode k has k half-cycles. `periodic` (torus): 1, sin 1, cos 1, sin 2, cos 2 ... cycles.
    """
    k, u = torch.arange(n, dtype=torch.float64)[:, None], (torch.arange(n, dtype=torch.float64) + 0.5) / n
    if basis == "cosine":
        matrix = torch.cos(math.pi * k * u)
    else:
        phase = 2 * math.pi * ((k + 1) // 2) * u
        matrix = torch.where(k % 2 == 1, torch.sin(phase), torch.cos(phase))
    return (matrix / matrix.norm(dim=1, keepdim=True)).to(device, dtype)


def cosines(
    u: Tensor,  # (...) in [0, 1]
    n: int,
) -> Tensor:
    """The first `n` functions of the `cosine` basis at positions on an axis of length 1, (..., n) float64.

    They are normalised as in `waves`: at the centres of `n` cells they are its columns.
    """
    k = torch.arange(n, dtype=torch.float64, device=u.device)
    scale = torch.full_like(k, math.sqrt(2 / n))
    scale[0] = 1 / math.sqrt(n)
    return torch.cos(math.pi * k * u.double()[..., None]) * scale


def _product(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """`rows @ x @ columns` for matrices x (..., H, W), by two operations."""
    lead, x = x.shape[:-2], x.reshape(-1, *x.shape[-2:])
    half = torch.bmm(rows.expand(len(x), -1, -1), x)
    return torch.mm(half.flatten(0, 1), columns).view(*lead, rows.shape[0], columns.shape[1])


def dct(x: Tensor, basis: Basis = "cosine") -> Tensor:
    """Orthonormal transform of the last two dimensions, cells to modes."""
    rows, columns = (waves(n, basis, x.device, x.dtype) for n in x.shape[-2:])
    return _product(rows, x, columns.T)


def idct(x: Tensor, basis: Basis = "cosine") -> Tensor:
    """Inverse of `dct`."""
    rows, columns = (waves(n, basis, x.device, x.dtype) for n in x.shape[-2:])
    return _product(rows.T, x, columns)


def frequencies(grid: Grid, device: torch.device | None = None, basis: Basis = "cosine", margin: int = 0) -> Tensor:
    """Half-cycles per unit length of each mode along both axes, (2, H, W) float64, for the grid with `margin` cells around it."""
    axes = []
    for n in grid.shape:
        k = torch.arange(n + 2 * margin, dtype=torch.float64, device=device)
        half_cycles = k if basis == "cosine" else 2 * ((k + 1) // 2)
        axes.append(half_cycles / ((n + 2 * margin) * grid.cell))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@lru_cache(maxsize=64)
def _bridge(n: int, m: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Matrix from `n` cells to `m`: keeps the common cosine modes and the values of a function, and sets other modes to zero."""
    there, here = (waves(size, "cosine", torch.device("cpu"), torch.float64)[: min(n, m)] for size in (m, n))
    return (there.T @ here * math.sqrt(m / n)).to(device, dtype)


def resample(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """`x` (..., H, W) on another grid of the domain, without aliasing: cosine modes are cut or padded with zeros."""
    rows, columns = (_bridge(n, m, x.device, x.dtype) for n, m in zip(x.shape[-2:], shape, strict=True))
    return _product(rows, x, columns.T) if tuple(x.shape[-2:]) != tuple(shape) else x
