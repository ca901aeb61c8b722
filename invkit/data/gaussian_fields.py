"""Samples of a Gaussian field: a data set whose posterior is known in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Dataset, Images, Split
from invkit.physics.gaussian import MaternField, StationaryField


@dataclass(frozen=True, eq=False)
class FieldDraws(Images):
    """Images sampled on access; the same id on a finer grid is the same sample, refined."""

    field: StationaryField
    split: Split
    grid: Grid
    seed: int
    count: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.field.sample(Keys.of(self.seed, f"fields/{self.split}", list(ids)), self.grid)

    def group(self, image_id: int) -> str:
        return f"draw {image_id}"


class Fields(Dataset):
    """Samples of a Gaussian field at any resolution; values are not bounded to [-1, 1]."""

    mirrored: ClassVar[bool] = True
    field: StationaryField = Field(
        MaternField(std=0.5, length=0.25, exponent=2.5, color=0.5), description="distribution of the images"
    )
    train_size: int = Field(65536, ge=1, description="images in the training split")
    test_size: int = Field(1024, ge=1, description="images in the test split")
    colors: int = Field(3, ge=1, le=16, description="channels of an image")

    @property
    def channels(self) -> int:
        return self.colors

    def law(self) -> StationaryField:
        return self.field

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        count = self.train_size if split == "train" else self.test_size
        return FieldDraws(self.field, split, grid, seed, min(count, limit or count))
