"""Area averages of images on a grid, exact for any box: an image is constant on each of its square pixels."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.grid import Grid

Box = tuple[float, float, float, float]  # top, left, bottom, right in pixels of the image


def area_table(
    pixels: NDArray[np.uint8],  # (..., h, w, C)
) -> NDArray[np.int_]:
    """The summed-area table of Crow (1984), `(..., h+1, w+1, C)`: sums over all upper left rectangles."""
    h, w = pixels.shape[-3:-1]
    exact = np.int32 if h * w * 255 < 2**31 else np.int64
    table = np.zeros((*pixels.shape[:-3], h + 1, w + 1, pixels.shape[-1]), exact)
    table[..., 1:, 1:, :] = pixels.cumsum(-3, dtype=exact).cumsum(-2, dtype=exact)
    return table


def cell_averages(
    table: NDArray[np.int_],  # (..., h+1, w+1, C), an `area_table`
    box: Box,
    grid: Grid,
) -> NDArray[np.float64]:
    """Averages in [0, 255] over the cells of a grid that covers a box of the image: `(..., H, W, C)`.

    >>> pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> cell_averages(area_table(pixels), (0, 0, 4, 4), Grid(2, 2, 1))[..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    top, left, bottom, right = box
    y, x = np.linspace(top, bottom, grid.height + 1), np.linspace(left, right, grid.width + 1)
    row = np.minimum(y.astype(np.int64), table.shape[-3] - 2)
    column = np.minimum(x.astype(np.int64), table.shape[-2] - 2)
    # The integral of a piecewise constant image is bilinear within each pixel.
    v, u = (y - row)[:, None, None], (x - column)[:, None]
    lines = table[..., row, :, :] * (1 - v) + table[..., row + 1, :, :] * v
    sums = lines[..., column, :] * (1 - u) + lines[..., column + 1, :] * u
    cell = (bottom - top) / grid.height * (right - left) / grid.width
    return np.diff(np.diff(sums, axis=-3), axis=-2) / cell


def box_averages(
    pixels: NDArray[Any],  # (..., h, w, C)
    box: Box,
    grid: Grid,
) -> NDArray[np.float64]:
    """As `cell_averages`, from the pixels themselves, of any type, row of cells by row of cells without a table.

    >>> box_averages(np.arange(16).reshape(4, 4, 1), (0, 0, 4, 4), Grid(2, 2, 1))[..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    top, left, bottom, right = box
    y, x = np.linspace(top, bottom, grid.height + 1), np.linspace(left, right, grid.width + 1)
    first, last = int(left), min(math.ceil(right), pixels.shape[-2])
    pixels = pixels[..., first:last, :]
    lines = np.empty((*pixels.shape[:-3], grid.height, *pixels.shape[-2:]))
    for i, (start, end) in enumerate(pairwise(y)):
        rows = np.arange(int(start), min(math.ceil(end), pixels.shape[-3]))
        shares = np.minimum(rows + 1, end) - np.maximum(rows, start)
        lines[..., i, :, :] = np.einsum("i,...ijk->...jk", shares, pixels[..., rows[0] : rows[-1] + 1, :, :])
    table = np.zeros((*lines.shape[:-2], lines.shape[-2] + 1, lines.shape[-1]))
    table[..., 1:, :] = lines.cumsum(-2)
    column = np.minimum((x - first).astype(np.int64), lines.shape[-2] - 1)
    u = (x - first - column)[:, None]  # the integral of a piecewise constant row is linear within each pixel
    sums = table[..., column, :] * (1 - u) + table[..., column + 1, :] * u
    return np.diff(sums, axis=-2) / ((bottom - top) / grid.height * (right - left) / grid.width)


def centre_box(shape: tuple[int, ...], grid: Grid) -> Box:
    """The largest centred box of the grid's aspect in an image of `shape` (height, width) pixels."""
    height, width = shape
    h = min(height, width * grid.height / grid.width)
    w = h * grid.width / grid.height
    return (height - h) / 2, (width - w) / 2, (height + h) / 2, (width + w) / 2


def enlarges(shape: tuple[int, ...], grid: Grid) -> bool:
    """Whether the grid is finer than the pixels of an image of `shape` (height, width)."""
    return shape[0] < grid.height or shape[1] < grid.width


def to_batch(
    values: NDArray[Any],  # (B, H, W, C) in [0, 255]
    grid: Grid,
) -> Tensor:
    """Convert images to a batch `(B, C, H, W)` float32 in [-1, 1]."""
    assert values.shape[1:] == (*grid.shape, grid.channels), f"{values.shape} images for {grid!r}"
    batch = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
    return batch.to(torch.float32) / 127.5 - 1
