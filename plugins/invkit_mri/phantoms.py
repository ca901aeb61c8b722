"""Random phantoms: complex images of ellipses with a smooth phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invkit.api import Dataset, Field, Grid, Images, Keys, Split

FINER = 3  # subpixels of a cell along each axis, of which the cell is the average
INNER = 8  # largest number of ellipses inside the outer one
WAVES = 3  # cosine waves along each axis of the phase and of the shading


@dataclass(frozen=True, eq=False)
class PhantomImages(Images):
    """Phantoms computed on access; the same id on a finer grid is the same phantom."""

    split: Split
    grid: Grid
    seed: int
    count: int
    phase: float

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        keys = Keys.of(self.seed, f"phantoms/{self.split}", list(ids))
        numbers = keys.uniform("ellipses", INNER + 1, 6), *(keys.normal(k, WAVES, WAVES) for k in ("shading", "phase"))
        # one by one, so that an image does not depend on its batch even in the last bit
        return torch.stack([self._image(*own) for own in zip(*numbers, strict=True)])

    def _image(self, ellipses: Tensor, shading: Tensor, phase: Tensor) -> Tensor:
        y, x = ((torch.arange(n * FINER) + 0.5) * 2 / (n * FINER) - 1 for n in self.grid.shape)
        size = (_ellipses(ellipses, y[:, None], x) * (1 + 0.15 * _smooth(shading, y, x))).clamp(0, 1)
        angle = self.phase * _smooth(phase, y, x)
        return avg_pool2d(torch.stack([size * angle.cos(), size * angle.sin()]), FINER)

    def group(self, image_id: int) -> str:
        return f"phantom {image_id}"


def _ellipses(
    u: Tensor,  # (ellipses, 6), uniform
    y: Tensor,  # (h, 1)
    x: Tensor,  # (w,)
) -> Tensor:
    """Magnitudes (h, w): an outer ellipse, inside which the others add or subtract."""
    half, across = 0.65 + 0.25 * u[0, 0], 0.65 + 0.25 * u[0, 1]  # half axes along height and width
    body = (x / across).square() + (y / half).square() < 1
    size = (0.45 + 0.3 * u[0, 5]) * body
    for a, b, radius, where, turn, value in u[1:]:
        away, where, turn = 0.55 * radius.sqrt(), 2 * math.pi * where, math.pi * turn
        right, down = x - away * across * where.cos(), y - away * half * where.sin()
        along, beside = right * turn.cos() + down * turn.sin(), down * turn.cos() - right * turn.sin()
        inside = (along / (0.06 + 0.3 * a**2)).square() + (beside / (0.06 + 0.3 * b**2)).square() < 1
        size = size + torch.where(value < 0.5, 0.6 * value - 0.4, 0.6 * value - 0.2) * (inside & body)
    return size


def _smooth(
    weight: Tensor,  # (WAVES, WAVES), normal
    y: Tensor,
    x: Tensor,
) -> Tensor:
    """The sum (h, w) of cosine waves with these coefficients: random, of standard deviation about one."""
    k = torch.arange(WAVES)
    decay = 1 / (1 + k[:, None] ** 2 + k**2)
    rows, columns = (torch.cos(math.pi / 2 * k[:, None] * (t + 1)) for t in (y, x))
    return rows.T @ (weight * decay / decay.square().sum().sqrt()) @ columns


class Phantoms(Dataset):
    """Complex images as of MRI, in two channels (real and imaginary part): random ellipses with a smooth phase.

    The magnitude is between 0 and 1. Images are averages over cells, and the same phantom on every grid.
    """

    train_size: int = Field(65536, ge=1, description="images in the training split; each is computed on access")
    test_size: int = Field(1024, ge=1, description="images in the test split")
    phase: float = Field(0.6, ge=0, le=3, description="standard deviation of the phase, about, in radians")

    @property
    def channels(self) -> int:
        return 2

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        count = self.train_size if split == "train" else self.test_size
        return PhantomImages(split, grid, seed, min(count, limit or count), self.phase)
