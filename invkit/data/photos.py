"""The shipped data set: crops of 49 embedded photographs, split by photograph."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Dataset, Images, Split
from invkit.data.crops import TEST_CROPS, Crops, crop_box
from invkit.data.resampling import area_table, cell_averages, enlarges


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph, stored as its summed-area table."""

    name: str
    table: NDArray[np.int_]  # (h+1, w+1, 3)

    @property
    def shape(self) -> tuple[int, int]:
        return self.table.shape[0] - 1, self.table.shape[1] - 1


@cache
def embedded(split: Split) -> tuple[Photo, ...]:
    """The photographs of a split (35 for training, 14 for testing), decoded once per process."""
    folder = files("invkit.data") / "embedded"
    photos = []
    for entry in json.loads((folder / "photos.json").read_text("utf-8")):
        if entry["split"] == split:
            with (folder / entry["file"]).open("rb") as file, Image.open(file) as image:
                photos.append(Photo(entry["file"], area_table(np.asarray(image.convert("RGB")))))
    return tuple(photos)


@dataclass(frozen=True, eq=False)
class PhotoCrops(Crops):
    """Crops of the embedded photographs; a training crop is flipped with probability 1/2."""

    purpose: ClassVar[str] = "photos"

    @property
    def photos(self) -> tuple[Photo, ...]:
        return embedded(self.split)

    @property
    def sources(self) -> int:
        return len(self.photos)

    def crop(self, source: int, scale: float, place: tuple[float, float]) -> NDArray[np.float64]:
        photo = self.photos[source]
        return cell_averages(photo.table, crop_box(photo.shape, scale, place, self.min_side, self.grid), self.grid)

    def flips(self, keys: Keys) -> list[bool]:
        return [self.split == "train" and u < 0.5 for u in keys.uniform("flip").tolist()]

    def name(self, source: int) -> str:
        return self.photos[source].name


class Photos(Dataset):
    """Square-cell crops of 49 photographs that ship with the package: 35 for training, 14 for testing.

    A test crop depends on its id only, so that the test images are the same for every seed.
    """

    mirrored: ClassVar[bool] = True
    crops: int = Field(65536, ge=1, description="crops in the training split; each is computed on access")
    min_side: int = Field(64, ge=8, le=320, description="shorter side of the smallest crop, in pixels of a photograph")

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        photos = embedded(split)
        count = self.crops if split == "train" else TEST_CROPS * len(photos)
        small = sum(enlarges(photo.shape, grid) for photo in photos)
        notes = (f"photos: {small} of {len(photos)} are smaller than {grid} and are enlarged",) if small else ()
        return PhotoCrops(
            split, grid, seed if split == "train" else 0, min(count, limit or count), self.min_side, notes
        )
