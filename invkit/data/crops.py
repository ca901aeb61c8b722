"""Crops of photographs, each a function of (seed, split, id) and computed on access."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images, Split
from invkit.data.decoding import Range, error_line, onto, printable
from invkit.data.resampling import Box, to_batch
from invkit.data.sources import Source
from invkit.data.split_record import Item

TEST_CROPS = 16  # of each test photograph
BLOCK = 256  # crops whose groups are computed together
IN_MEMORY = 1 << 30  # bytes of decoded photographs to keep


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
class Crops(Images):
    """Crops of the photographs of one split; those of the test split take the photographs in turn."""

    purpose: ClassVar[str]  # of the keys

    split: Split
    grid: Grid
    seed: int
    count: int
    min_side: int
    notes: tuple[str, ...] = ()
    split_used: str = ""

    @property
    @abstractmethod
    def sources(self) -> int:
        """The number of photographs."""

    @abstractmethod
    def crop(self, source: int, scale: float, place: tuple[float, float]) -> NDArray[np.float64]:
        """A crop (H, W, C), 0 to 255, of a photograph; `scale` and `place` as in `crop_box`."""

    @abstractmethod
    def name(self, source: int) -> str:
        """The group of a photograph."""

    def flips(self, keys: Keys) -> Sequence[bool]:
        """Which of the crops are mirrored."""
        return [False] * len(keys)

    def __len__(self) -> int:
        return self.count

    def _keys(self, ids: Sequence[int]) -> Keys:
        return Keys.of(self.seed, f"{self.purpose}/{self.split}", ids)

    def _sources(self, keys: Keys, ids: Sequence[int]) -> list[int]:
        if self.split == "test":  # the first n ids show all photographs about equally often
            return [i % self.sources for i in ids]
        return keys.integers("photo", self.sources).tolist()

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        keys = self._keys(ids)
        sources = self._sources(keys, ids)
        scale, place = keys.uniform("scale").tolist(), keys.uniform("place", 2).tolist()
        crops = np.empty((len(sources), *self.grid.shape, self.grid.channels))
        for i, (source, flip) in enumerate(zip(sources, self.flips(keys), strict=True)):
            crop = self.crop(source, scale[i], place[i])
            crops[i] = crop[:, ::-1] if flip else crop
        return to_batch(crops, self.grid)

    def group(self, image_id: int) -> str:
        return self._names(image_id // BLOCK)[image_id % BLOCK]

    @lru_cache(maxsize=2)  # noqa: B019  (a few names)
    def _names(self, block: int) -> tuple[str, ...]:
        ids = range(block * BLOCK, (block + 1) * BLOCK)
        return tuple(self.name(source) for source in self._sources(self._keys(ids), ids))


@dataclass(frozen=True, eq=False, kw_only=True)
class FileCrops(Crops):
    """Crops of image files; up to 1 GiB of decoded files is kept."""

    purpose: ClassVar[str] = "images"

    items: Sequence[Item]
    source: Source
    span: Range | None = None
    _kept: OrderedDict[int, NDArray[Any]] = field(default_factory=OrderedDict, repr=False)

    @property
    def sources(self) -> int:
        return len(self.items)

    def name(self, source: int) -> str:
        return printable(self.items[source].group)

    def crop(self, source: int, scale: float, place: tuple[float, float]) -> NDArray[np.float64]:
        try:
            pixels = self._pixels(source)
            return onto(
                pixels, self.grid, self.span, crop_box(pixels.shape[:2], scale, place, self.min_side, self.grid)
            )
        except MemoryError:
            raise
        except Exception as error:  # decoders of broken files may raise any exception
            raise DataError(
                f"images: {printable(self.items[source].name)} is broken ({error_line(error)}); remove it, or save it again"
            ) from None

    def _pixels(self, source: int) -> NDArray[Any]:
        if source not in self._kept:
            self._kept[source] = self.source.pixels(self.items[source].name)
            while len(self._kept) > 1 and sum(pixels.nbytes for pixels in self._kept.values()) > IN_MEMORY:
                self._kept.popitem(last=False)
        self._kept.move_to_end(source)
        return self._kept[source]
