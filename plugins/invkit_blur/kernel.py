"""Blur with a kernel from a file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.api import Convolution, DataError, Field, Grid, Keys, LinearOperator, PathSetting, read_image
from invkit_blur.base import Blur


class KernelBlur(Blur):
    """Convolve with a kernel from a file, divided by its sum, with periodic boundary.

    `y(p) = sum_q k(q) x(p - q)`, with `sum_q k(q) = 1`.
    """

    file: PathSetting = Field(
        description="the kernel: a matrix in an npy file, or an image whose grey values are the weights"
    )
    size: float = Field(
        0.2, gt=0, le=1, description="longer side of the kernel, relative to the shorter side of the image"
    )

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        folder = Path(__file__).parent / "examples"
        return [cls(file=str(folder / name)) for name in ("disc.png", "shake.npy")]

    @property
    def resolution_law(self) -> float:
        return 0.03

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        kernel = torch.from_numpy(_read(Path(self.file)))
        cell = self.size / grid.cell / max(kernel.shape)  # side of a kernel cell, in cells of the grid
        rows, columns = (_spread(m, cell, n) for m, n in zip(kernel.shape, grid.shape, strict=True))
        return Convolution.of(len(keys), grid, (rows @ kernel @ columns.T)[None].to(keys.device), self.cutoff)


def _read(path: Path) -> NDArray[np.float64]:
    """Read a kernel (h, w), divided by its sum."""
    kernel = read_image(path).mean(2)
    if not np.isfinite(kernel).all() or not kernel.sum() > 0:
        raise DataError(f"{path}: a kernel is a matrix of finite numbers with a positive sum, got shape {kernel.shape}")
    return kernel / kernel.sum()


def _spread(m: int, cell: float, n: int) -> Tensor:
    """Shares (n, m) of each of `m` kernel cells, centred at position 0, in the `n` cells of a periodic axis."""
    reach = math.ceil(max(m * cell - 1, 0) / 2)
    edges = torch.arange(-reach, reach + 2, dtype=torch.float64)[:, None] - 0.5
    left = (torch.arange(m, dtype=torch.float64) - m / 2) * cell
    shares = ((edges - left) / cell).clamp(0, 1).diff(dim=0)  # (2 reach + 1, m)
    return torch.zeros(n, m, dtype=torch.float64).index_add_(0, torch.arange(-reach, reach + 1) % n, shares)
