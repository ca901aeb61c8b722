"""Blur through a kernel from a file."""

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
    """Convolve with a kernel from a file, divided by its sum; beyond its border the picture goes on periodically."""

    file: PathSetting = Field(description="the kernel: a matrix in an npy file, or a picture whose brightness it is")
    size: float = Field(0.2, gt=0, le=1, description="longer side of the kernel, as a share of the shorter side")

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        folder = Path(__file__).parent / "examples"
        return [cls(file=str(folder / name)) for name in ("disc.png", "shake.npy")]

    @property
    def resolution_law(self) -> float:
        return 0.03

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        kernel = torch.from_numpy(_read(Path(self.file)))
        cell = self.size / grid.cell / max(kernel.shape)  # side of a cell of the kernel, in cells of the grid
        rows, columns = (_spread(m, cell, n) for m, n in zip(kernel.shape, grid.shape, strict=True))
        return Convolution.of(len(keys), grid, (rows @ kernel @ columns.T)[None].to(keys.state.device), self.cutoff)


def _read(path: Path) -> NDArray[np.float64]:
    """A kernel (h, w) that sums to one."""
    if path.suffix != ".npy":
        kernel = np.asarray(read_image(path, "F"), np.float64)
    else:
        try:  # mapped: a header that claims more than the file holds is an error at once
            kernel = np.array(np.load(path, mmap_mode="r", allow_pickle=False), np.float64)
        except MemoryError:
            raise
        except Exception as error:  # a broken header raises nearly anything
            raise DataError(f"{path}: cannot be read as a kernel ({error})") from None
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or not kernel.sum() > 0:
        raise DataError(f"{path}: a kernel is a matrix of finite numbers with a positive sum, got shape {kernel.shape}")
    return kernel / kernel.sum()


def _spread(m: int, cell: float, n: int) -> Tensor:
    """The shares (n, m) of `m` kernel cells, centred on place 0, that fall into the cells of a circle of `n`."""
    reach = math.ceil(max(m * cell - 1, 0) / 2)
    edges = torch.arange(-reach, reach + 2, dtype=torch.float64)[:, None] - 0.5
    left = (torch.arange(m, dtype=torch.float64) - m / 2) * cell
    shares = ((edges - left) / cell).clamp(0, 1).diff(dim=0)  # (2 reach + 1, m)
    return torch.zeros(n, m, dtype=torch.float64).index_add_(0, torch.arange(-reach, reach + 1) % n, shares)
