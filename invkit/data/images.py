"""Image files of a folder, a zip or an npz as a data set."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.settings import PathSetting
from invkit.data.archive import UNREADABLE, read_npz
from invkit.data.arrays import ArrayImages
from invkit.data.base import Dataset, Images, Split
from invkit.data.decoding import SUFFIXES, check, decode, error_line, printable, to_bytes
from invkit.data.listing import Opener, folder_files, zip_files
from invkit.data.resampling import area_table, cell_averages, centre_box, enlarges, to_batch
from invkit.data.splits import SplitNames, split_names

IN_MEMORY = 1 << 30  # bytes of decoded images to keep

Image.init()  # registers WEBP and TIFF by name in Pillow


@dataclass(frozen=True, eq=False)
class LazyImages(Images):
    """Images of a set too large for memory, decoded on access."""

    names: Sequence[str]
    opener: Opener
    grid: Grid
    notes: tuple[str, ...] = ()
    split_used: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return to_batch(np.stack([self._decode(self.names[i]) for i in ids]), self.grid)

    def _decode(self, name: str) -> NDArray[np.uint8]:
        try:
            return decode(self.opener(name), self.grid)
        except MemoryError:
            raise
        except Exception as error:  # as below
            raise DataError(
                f"images: {printable(name)} is broken ({error_line(error)}); remove it, or save it again"
            ) from None

    def group(self, image_id: int) -> str:
        return printable(self.names[image_id])


def sift(
    names: Sequence[str], work: Callable[[str], NDArray[np.uint8] | None], limit: int | None
) -> Iterator[tuple[str, NDArray[np.uint8] | str | None]]:
    """Each name, in order, with the result of `work` or the text of its error; ends after `limit` successes."""

    def attempt(part: Sequence[str]) -> list[tuple[str, NDArray[np.uint8] | str | None]]:
        results: list[tuple[str, NDArray[np.uint8] | str | None]] = []
        for name in part:
            try:
                results.append((name, work(name)))
            except MemoryError:  # not caused by the file
                raise
            except Exception as error:  # decoders of broken files may raise any exception
                results.append((name, error_line(error)))
        return results

    left = len(names) if limit is None else limit
    parts = (names[i : i + 64] for i in range(0, len(names), 64))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while left > 0 and (round_ := list(islice(parts, min(64, -(-left // 64))))):
            for part in pool.map(attempt, round_):
                for name, result in part:
                    if left > 0:
                        left -= not isinstance(result, str)
                        yield name, result


class ImageFiles(Dataset):
    """Images of a folder (recursively), a .zip or an .npz; folders such as `train` and `test` define the split.

    An image is turned upright, centre-cropped to the grid's aspect and averaged over its cells, to 8 bits. Broken images
    and those smaller than the grid are left out and listed in `notes`. Up to 1 GiB of images is decoded on opening and
    kept in memory. For a larger set only headers are read on opening; an image that proves broken later is a DataError.
    An .npz holds `images`: 8-bit `(N, H, W, 3)` or `(N, H, W)`.
    """

    root: PathSetting = Field(description="a folder, a .zip or an .npz of images")
    test_root: PathSetting | None = Field(
        None, description="a folder, a .zip or an .npz of test images, all of which are used; root then holds no others"
    )
    test_share: float = Field(
        0.1, gt=0, le=1, description="share of test images, if the folders define no split; 1: all images of root"
    )
    test_folder: str | None = Field(
        None,
        description="folder of the test images, beside train; null: found by its name (test, val, dev and the like)",
    )

    def missing(self) -> str | None:
        absent = [root for root in (self.root, self.test_root) if root and not Path(root).exists()]
        return f"images: {absent[0]} does not exist" if absent else None

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        if self.test_root and split == "test":
            return ImageFiles(root=self.test_root, test_share=1.0).open(split, grid, seed, limit)
        path = Path(self.root)
        if missing := self.missing():
            raise DataError(f"{missing}; set data.root to a folder, a .zip or an .npz of images")
        try:
            if path.suffix.lower() == ".npz":
                return self._array(path, split, grid, seed, limit)
            names, opener = folder_files(path) if path.is_dir() else zip_files(path)
        except DataError:
            raise
        except UNREADABLE as error:
            raise DataError(
                f"images: {path} cannot be read as a folder, a .zip or an .npz ({error_line(error)})"
            ) from None
        if not names:
            raise DataError(f"images: {path} holds no image ({', '.join(sorted(SUFFIXES))})")
        return self._files(self._split(names, split, seed), opener, split, grid, limit)

    def _split(self, names: Sequence[str], split: Split, seed: int) -> SplitNames:
        if split == "train" and self.test_share == 1 and not self.test_root:
            raise DataError(
                "images: data.test_share=1 leaves no images to train on; give the test set as data.test_root"
            )
        share, root = 0.0 if self.test_root else self.test_share, Path(self.root).name
        both = split_names(names, seed, share, self.test_folder, root)
        if self.test_root is None:
            return both
        used = f"train: {len(both.train)} of {len(names)} images of {root}, test: all images of {Path(self.test_root).name}"
        return replace(both, description=printable(used))

    def _files(self, both: SplitNames, opener: Opener, split: Split, grid: Grid, limit: int | None) -> Images:
        names = both.names(split)
        count = min(len(names), limit or len(names))
        keep = count * grid.pixels * 3 <= IN_MEMORY
        pixels = np.empty((count if keep else 0, *grid.shape, 3), np.uint8)
        used: list[str] = []
        broken: list[str] = []

        def work(name: str) -> NDArray[np.uint8] | None:
            if keep:
                return decode(opener(name), grid)
            check(opener(name), grid)
            return None

        for name, result in sift(names, work, limit):
            if isinstance(result, str):
                broken.append(f"{printable(name)} ({result})")
                continue
            if result is not None:
                pixels[len(used)] = result
            used.append(name)
        some = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
        if not used:
            raise DataError(f"images: no usable image for the {split} split in {self.root}: {some}")
        notes = (f"images: {len(broken)} images of the {split} split are left out: {some}",) if broken else ()
        if not keep:
            return LazyImages(used, opener, grid, notes, both.description)
        shown = [printable(name) for name in used]
        return ArrayImages(pixels[: len(used)], np.arange(len(used)), shown, grid, notes, both.description)

    def _array(self, path: Path, split: Split, grid: Grid, seed: int, limit: int | None) -> Images:
        try:
            pixels = read_npz(path, "images")
        except KeyError as error:
            raise DataError(f"images: {path} holds {error.args[0]}; it needs an array named images") from None
        if pixels.ndim == 3:
            pixels = pixels[..., None].repeat(3, -1)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise DataError(
                f"images: images in {path} is {pixels.dtype} {pixels.shape}; it needs 8-bit (N, H, W, 3) or (N, H, W)"
            )
        if enlarges(pixels.shape[1:3], grid):
            raise DataError(
                f"images: the images of {path} have {pixels.shape[1]}x{pixels.shape[2]} pixels, fewer than {grid}"
            )
        both = self._split([str(row) for row in range(len(pixels))], split, seed)
        rows = np.array([int(name) for name in both.names(split)[:limit]])
        kept = ArrayImages(pixels[rows], np.arange(len(rows)), [str(row) for row in rows], grid, (), both.description)
        if pixels.shape[1:3] == grid.shape:
            return kept
        box = centre_box(pixels.shape[1:3], grid)
        parts = [
            to_bytes(cell_averages(area_table(kept.pixels[i : i + 64]), box, grid)) for i in range(0, len(rows), 64)
        ]
        return replace(kept, pixels=np.concatenate(parts))
