"""The shipped data set: crops of 49 embedded photographs, split by photograph."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Dataset, Images, Split
from invkit.data.resampling import Box, area_table, cell_averages, enlarges, to_batch

TEST_CROPS = 16  # of each test photograph
BLOCK = 256  # crops whose groups are computed together


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


def crop_box(
    shape: tuple[int, int],
    scale: float,
    place: tuple[float, float],
    min_side: int,
    grid: Grid,
) -> Box:
    """The box of a crop with the grid's aspect in a photograph of `shape` pixels.

    Its shorter side grows exponentially with `scale` in [0, 1], from `min_side` to the largest that fits; `place` in
    [0, 1]^2 moves it from the upper left to the lower right corner. If the photograph is large enough, the side is at
    least that of the grid, so that pixels are not enlarged; apart from this bound it does not depend on the resolution.
    """
    aspect = grid.height / min(grid.shape), grid.width / min(grid.shape)
    longest = min(shape[0] / aspect[0], shape[1] / aspect[1])
    side = longest * min(min_side / longest, 1.0) ** (1 - scale)
    side = max(side, min(min(grid.shape), longest))
    height, width = side * aspect[0], side * aspect[1]
    top, left = (shape[0] - height) * place[0], (shape[1] - width) * place[1]
    return top, left, top + height, left + width


@dataclass(frozen=True, eq=False)
class PhotoCrops(Images):
    """Crops of photographs, each a function of (seed, split, id) and computed on access."""

    split: Split
    grid: Grid
    seed: int
    count: int
    min_side: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def _keys(self, ids: Sequence[int]) -> Keys:
        return Keys.of(self.seed, f"photos/{self.split}", ids)

    def _photos(self, keys: Keys, ids: Sequence[int]) -> list[Photo]:
        photos = embedded(self.split)
        if self.split == "test":  # in turn: the first n ids show all photographs about equally often
            return [photos[i % len(photos)] for i in ids]
        return [photos[i] for i in keys.integers("photo", len(photos)).tolist()]

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        keys = self._keys(ids)
        photos = self._photos(keys, ids)
        scale, place = keys.uniform("scale").tolist(), keys.uniform("place", 2).tolist()
        flip = [self.split == "train" and u < 0.5 for u in keys.uniform("flip").tolist()]
        crops = np.empty((len(photos), *self.grid.shape, 3))
        for i, photo in enumerate(photos):
            crop = cell_averages(
                photo.table, crop_box(photo.shape, scale[i], place[i], self.min_side, self.grid), self.grid
            )
            crops[i] = crop[:, ::-1] if flip[i] else crop
        return to_batch(crops, self.grid)

    def group(self, image_id: int) -> str:
        return self._names(image_id // BLOCK)[image_id % BLOCK]

    @lru_cache(maxsize=2)  # noqa: B019  (a few names)
    def _names(self, block: int) -> tuple[str, ...]:
        ids = range(block * BLOCK, (block + 1) * BLOCK)
        return tuple(photo.name for photo in self._photos(self._keys(ids), ids))


class Photos(Dataset):
    """Square-cell crops of 49 photographs that ship with the package: 35 for training, 14 for testing.

    A test crop depends on its id only, so that the test images are the same for every seed.
    """

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
