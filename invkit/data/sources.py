"""Where images come from: a folder, a zip, or an array in an npz, each with its image names."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from PIL import Image

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import decoding
from invkit.data.archive import UNREADABLE, read_npy, read_npz
from invkit.data.decoding import Range, error_line, printable, read_pixels, stored
from invkit.data.listing import DATA_SUFFIXES, Listing, folder_files, unread_note, zip_files
from invkit.data.resampling import enlarges

T = TypeVar("T")

Image.init()  # registers WEBP and TIFF by name in Pillow


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """Named images; a stamp changes whenever the content of an image does."""

    path: Path
    stamps: Mapping[str, str]  # by name
    size: int  # bytes on disk

    @property
    def names(self) -> Sequence[str]:
        return list(self.stamps)

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user: what is left out."""
        return ()

    @abstractmethod
    def pixels(self, name: str) -> NDArray[Any]:
        """The pixels (h, w, C) of an image, C = 1 or 3; a broken file may raise any exception."""

    @abstractmethod
    def decode(self, name: str, grid: Grid, span: Range | None) -> NDArray[Any]:
        """An image on a grid (H, W, C), as `decoding.decode`."""

    @abstractmethod
    def check(self, name: str, grid: Grid) -> None:
        """Raise the errors of `decode` that are detected without decoding."""


@dataclass(frozen=True, eq=False)
class FileSource(Source):
    """Image files of a folder or a zip."""

    listing: Listing

    @property
    def notes(self) -> tuple[str, ...]:
        note = unread_note(self.listing.unread)
        return (f"images: {printable(self.path.name)} has {note}",) if note else ()

    def pixels(self, name: str) -> NDArray[Any]:
        return read_pixels(self.listing.open(name))

    def decode(self, name: str, grid: Grid, span: Range | None) -> NDArray[Any]:
        return decoding.decode(self.listing.open(name), grid, span)

    def check(self, name: str, grid: Grid) -> None:
        decoding.check(self.listing.open(name), grid)


@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """The rows of an array, named by their numbers."""

    array: NDArray[Any]  # (N, h, w, C)

    def pixels(self, name: str) -> NDArray[Any]:
        return self.array[int(name)]

    def decode(self, name: str, grid: Grid, span: Range | None) -> NDArray[Any]:
        return stored(self.pixels(name), grid, span)

    def check(self, name: str, grid: Grid) -> None:
        pass  # all rows have the size that was checked on opening


def open_source(path: Path, grid: Grid | None = None) -> Source:
    """Open a folder, a zip, or an npz or npy of all images.

    Raises DataError if it holds no images, or an array of images that are smaller than the grid.
    """
    try:
        if path.suffix.lower() in (".npz", ".npy"):
            return _open_array(path, grid)
        listing = folder_files(path) if path.is_dir() else zip_files(path)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(
            f"images: {path} cannot be read as a folder, a .zip, an .npz or an .npy ({error_line(error)})"
        ) from None
    if not listing.stamps:
        others = f", and has {note}" if (note := unread_note(listing.unread)) else ""
        raise DataError(f"images: {path} holds no image ({', '.join(sorted(DATA_SUFFIXES))}){others}")
    return FileSource(path, listing.stamps, listing.size, listing)


def _open_array(path: Path, grid: Grid | None) -> ArraySource:
    stat = path.stat()
    try:
        if path.suffix.lower() == ".npz":
            array = read_npz(path, "images")
        else:
            with path.open("rb") as file:
                array = read_npy(file, stat.st_size)
    except KeyError as error:
        raise DataError(f"images: {path} holds {error.args[0]}; it needs an array named images") from None
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype.kind not in "buif" or array.ndim != 4 or array.shape[3] not in (1, 3):
        raise DataError(
            f"images: images in {path} is {array.dtype} {array.shape}; it needs real (N, H, W, 3), (N, H, W, 1) or (N, H, W)"
        )
    if grid and enlarges(array.shape[1:3], grid):
        raise DataError(
            f"images: the images of {path} have {array.shape[1]}x{array.shape[2]} pixels, fewer than {grid}"
        )
    stamp = f"{stat.st_size}-{stat.st_mtime_ns}"
    return ArraySource(path, {str(row): stamp for row in range(len(array))}, stat.st_size, array)


def sift(names: Sequence[str], work: Callable[[str], T], limit: int | None = None) -> Iterator[tuple[str, T | str]]:
    """Each name, in order, with the result of `work` or the text of its error; ends after `limit` successes."""

    def attempt(part: Sequence[str]) -> list[tuple[str, T | str]]:
        results: list[tuple[str, T | str]] = []
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
