"""Sensitivity maps of receiver coils, with a root sum of squares of one."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.api import DataError, Grid

DISTANCE = 1.5  # of the coils from the centre, in half sides of the image


def simulated_maps(count: int, grid: Grid) -> Tensor:
    """Maps (coils, H, W) complex128 of a birdcage: coils on a circle, `exp(i angle) / distance` seen from each.

    One coil has the map 1.
    """
    if count == 1:
        return torch.ones(1, *grid.shape, dtype=torch.complex128)
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n - 1 for n in grid.shape)
    turn = torch.arange(count, dtype=torch.float64)[:, None, None] * 2 * math.pi / count
    right, down = x - DISTANCE * turn.cos(), y[:, None] - DISTANCE * turn.sin()
    return normalised(torch.polar(1 / torch.hypot(right, down), torch.atan2(right, -down) + turn))


def normalised(maps: Tensor) -> Tensor:
    """Maps (coils, H, W) divided by their root sum of squares; pixels that no coil sees stay zero."""
    total = maps.abs().square().sum(0).sqrt()
    return maps / torch.where(total > 1e-6 * total.max(), total, torch.inf)


def read_maps(path: Path, grid: Grid) -> Tensor:
    """The maps of a file on a grid. Raises DataError if the file does not hold maps."""
    try:
        maps = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an npy file ({error}); save maps with numpy.save") from None
    if not isinstance(maps, np.ndarray) or maps.ndim != 3 or maps.dtype.kind not in "fc" or not maps.size:
        found = f"{maps.dtype} {maps.shape}" if isinstance(maps, np.ndarray) else "several arrays"
        raise DataError(f"{path}: sensitivity maps are complex numbers (coils, height, width), got {found}")
    if not np.isfinite(maps).all() or not maps.any():
        raise DataError(f"{path}: sensitivity maps should be finite, and not all zero")
    parts = torch.view_as_real(torch.from_numpy(maps.astype(np.complex128))).permute(3, 0, 1, 2)
    if parts.shape[2:] != grid.shape:
        parts = F.interpolate(parts, size=grid.shape, mode="bilinear", antialias=True)
    return normalised(torch.complex(parts[0], parts[1]))
