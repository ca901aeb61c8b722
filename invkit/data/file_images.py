"""The images of a split of a source on a grid: in memory, decoded on access, or as crops."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.arrays import ArrayImages
from invkit.data.base import Images, Split
from invkit.data.crops import TEST_CROPS, FileCrops
from invkit.data.decoding import Range, error_line, printable
from invkit.data.resampling import to_batch
from invkit.data.sources import Source, sift
from invkit.data.split_record import Item, SplitRecord

IN_MEMORY = 1 << 30  # bytes of decoded images to keep


@dataclass(frozen=True, eq=False)
class LazyImages(Images):
    """Images of a set too large for memory, decoded on access."""

    items: Sequence[Item]
    source: Source
    grid: Grid
    span: Range | None = None
    notes: tuple[str, ...] = ()
    split_used: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return to_batch(np.stack([self._decode(self.items[i].name) for i in ids]), self.grid)

    def _decode(self, name: str) -> NDArray[Any]:
        try:
            return self.source.decode(name, self.grid, self.span)
        except MemoryError:
            raise
        except Exception as error:  # decoders of broken files may raise any exception
            raise DataError(
                f"images: {printable(name)} is broken ({error_line(error)}); remove it, or save it again"
            ) from None

    def group(self, image_id: int) -> str:
        return printable(self.items[image_id].group)


@dataclass(frozen=True)
class Opening:
    """Which images to open, and how."""

    split: Split
    grid: Grid
    seed: int
    limit: int | None
    span: Range | None
    crops: int | None  # in the training split
    min_side: int


def open_images(source: Source, record: SplitRecord, how: Opening) -> Images:
    """The images of a split; broken ones, and those smaller than the grid, are left out with a note."""
    items, grid = {item.name: item for item in record.items(how.split)}, how.grid
    count = min(len(items), how.limit or len(items)) if how.crops is None else len(items)
    dtype = _dtype(source, list(items), how)
    keep = how.crops is None and count * grid.pixels * grid.channels * dtype.itemsize <= IN_MEMORY
    pixels = np.empty((count if keep else 0, *grid.shape, grid.channels), dtype)
    used: list[Item] = []
    broken: list[str] = []

    def work(name: str) -> NDArray[Any] | None:
        return source.decode(name, grid, how.span) if keep else source.check(name, grid)

    for name, result in sift(list(items), work, None if how.crops else how.limit):
        if isinstance(result, str):
            broken.append(f"{printable(name)} ({result})")
            continue
        if result is not None:
            pixels = pixels.astype(np.promote_types(pixels.dtype, result.dtype), copy=False)
            pixels[len(used)] = result
        used.append(items[name])
    some = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    if not used:
        raise DataError(f"images: no usable image for the {how.split} split in {source.path}: {some}")
    left_out = (f"images: {len(broken)} images of the {how.split} split are left out: {some}",) if broken else ()
    pixels = pixels[: len(used)]
    notes = (*record.notes, *left_out, *_notes_on_values(pixels, source))
    if how.crops is not None:
        training = how.split == "train"
        crops = how.crops if training else TEST_CROPS * len(used)
        return FileCrops(
            how.split, grid, how.seed if training else 0, min(crops, how.limit or crops), how.min_side, notes,
            record.description, items=used, source=source, span=how.span,
        )  # fmt: skip
    if not keep:
        return LazyImages(used, source, grid, how.span, notes, record.description)
    groups = [printable(item.group) for item in used]
    return ArrayImages(pixels, np.arange(len(used)), groups, grid, notes, record.description)


def _dtype(source: Source, names: Sequence[str], how: Opening) -> np.dtype[Any]:
    """The type of the decoded images: that of the first which can be decoded."""
    for name in names[:8]:
        with contextlib.suppress(Exception):
            return source.decode(name, how.grid, how.span).dtype
    return np.dtype(np.uint8)


def _notes_on_values(pixels: NDArray[Any], source: Source) -> tuple[str, ...]:
    """What to say if `data.range` does not seem to fit images of more than 8 bits."""
    if pixels.dtype == np.uint8 or not pixels.size:
        return ()
    low, high = float(pixels.min()) / 255, float(pixels.max()) / 255
    if low >= -0.05 and 0.25 <= high <= 1.05:
        return ()
    return (
        f"images: the values of {printable(source.path.name)} reach from {100 * low:.3g} % to {100 * high:.3g} % of the range "
        "between black and white; set data.range to the values of black and white",
    )  # fmt: skip
