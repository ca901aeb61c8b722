"""Somebody's own pictures: a folder, a .zip or an .npz."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO, RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field
from torch import Tensor

from invkit.data.archive import UNREADABLE, open_zip, read_entry, read_npz
from invkit.data.area import area_table, cell_averages, centre_box, enlarges, to_batch
from invkit.data.arrays import ArrayImages
from invkit.data.base import Dataset, Images, Split
from invkit.errors import DataError
from invkit.grid import Grid
from invkit.settings import PathSetting

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_BYTES = 128 << 20  # of one file
MAX_PIXELS = 64_000_000  # of one picture
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some
IN_MEMORY = 1 << 30  # bytes of decoded pictures that are kept

Image.init()  # Pillow knows WEBP and TIFF by name only after this

Opener = Callable[[str], BinaryIO]


def _is_picture(name: str) -> bool:
    parts = name.split("/")
    hidden = any((part.startswith(".") and part.strip(".")) or part == "__MACOSX" for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in SUFFIXES


def _folder(root: Path) -> tuple[list[str], Opener]:
    """The pictures under a folder and how to open one."""
    found = (Path(at, name).relative_to(root).as_posix() for at, _, names in os.walk(root) for name in names)

    def opener(name: str) -> BinaryIO:
        path = root / name
        if not path.is_file():  # a dangling link, or a pipe, which would wait for ever
            raise ValueError("not a file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
        return path.open("rb")

    return sorted(filter(_is_picture, found)), opener


class _OwnPlace(RawIOBase):
    """A file whose place is this process's own: after a fork plain files share theirs, and readers would meet."""

    def __init__(self, path: Path) -> None:
        self._file, self._at = path.open("rb"), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = (0, self._at, os.fstat(self._file.fileno()).st_size)[whence]
        if origin + offset < 0:
            raise ValueError("a place before the file")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _zip(path: Path) -> tuple[list[str], Opener]:
    """The pictures in a .zip, which is never unpacked to the disk, and how to open one."""
    archive = open_zip(path, BufferedReader(_OwnPlace(path)) if hasattr(os, "pread") else None)

    def opener(name: str) -> BinaryIO:
        return BytesIO(read_entry(archive, name, MAX_BYTES))

    return sorted(set(filter(_is_picture, archive.namelist()))), opener


def pictures_in(root: Path) -> list[str]:
    """The names of the pictures under a folder, in order."""
    return _folder(root)[0]


TEST_FOLDERS = ("test", "val", "validation")


def choose(
    names: Iterable[str], split: Split, seed: int, test_share: float, test_folder: str | None = None
) -> list[str]:
    """The names of a split in a keyed order.

    Folders `train` and `test_folder` (by default the first of `TEST_FOLDERS` there is) at the top, or below folders that
    lie alone, are the split, and the order of its test part is the same under every seed; what lies beside them is left
    out. Without them the seed splits, to an exact count. Neither depends on what is in the pictures, and the first names
    are a fair sample of all. Raises DataError where a `test_folder` is named and not there.
    """

    def shuffled(names: Iterable[str], seed: int) -> list[str]:
        def rank(name: str) -> tuple[bytes, str]:
            word = f"{seed}/{name}".encode("utf-8", "surrogateescape")
            return hashlib.blake2b(word, digest_size=8).digest(), name

        return sorted(names, key=rank)

    names = list(names)
    prefix, tops = "", {name.split("/")[0] for name in names}
    while len(tops) == 1 and tops != {"train"} and all("/" in name.removeprefix(prefix) for name in names):
        prefix += f"{tops.pop()}/"
        tops = {name.removeprefix(prefix).split("/")[0] for name in names}
    wanted = TEST_FOLDERS if test_folder is None else (test_folder,)
    tested = next((folder for folder in wanted if folder in tops), None)
    if "train" in tops and tested:
        top = "train" if split == "train" else tested
        own = [name for name in names if name.startswith(f"{prefix}{top}/")]
        return shuffled(own, seed if split == "train" else 0)
    if test_folder is not None:
        raise DataError(f"images: no folders train and {test_folder} beside each other; leave data.test_folder out")
    if len(names) < 2:
        raise DataError(
            f"images: {len(names)} pictures found; at least two are needed, one to train on and one to test on"
        )
    count = min(max(round(test_share * len(names)), 1), len(names) - 1)
    order = shuffled(names, seed)
    return order[:count] if split == "test" else order[count:]


def _upright(picture: Image.Image) -> tuple[int, int]:
    """Height and width of a picture turned upright, from its header; ValueError says why it cannot be used at all."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are too many")
    if picture.mode[0] in "IF":
        raise ValueError("not a picture of 8 bits a channel")
    turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by a quarter
    return (width, height) if turned else (height, width)


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Height and width of a picture turned upright, as far as its header tells; raises nearly anything for a broken one."""
    with file, Image.open(file, formats=FORMATS) as picture:
        return _upright(picture)


def _usable(picture: Image.Image, grid: Grid) -> Image.Image:
    """The picture itself; ValueError says why it cannot be used on the grid."""
    height, width = _upright(picture)
    if enlarges((height, width), grid):
        raise ValueError(f"{width}x{height} pixels, smaller than {grid}")
    return picture


def decode(file: BinaryIO, grid: Grid) -> NDArray[np.uint8]:
    """A picture upright, in RGB, centre-cropped to the grid's aspect and averaged over its cells: `(H, W, 3)`."""
    with file, Image.open(file, formats=FORMATS) as opened:
        picture = ImageOps.exif_transpose(_usable(opened, grid)).convert("RGB")
    if (picture.height, picture.width) == grid.shape:
        return np.asarray(picture)
    box = centre_box((picture.height, picture.width), grid)
    factor = int((box[2] - box[0]) / grid.height) // 4
    if factor > 1:  # a table of a large picture would take gigabytes; its cells are at least 8 pixels wide
        top, left, bottom, right = map(round, box)
        picture = picture.reduce(factor, (left, top, right, bottom))
        box = (0, 0, (bottom - top) / factor, (right - left) / factor)
    return _rounded(cell_averages(area_table(np.asarray(picture)), box, grid))


def check(file: BinaryIO, grid: Grid) -> None:
    """What `decode` refuses of a picture, as far as its header tells."""
    with file, Image.open(file, formats=FORMATS) as picture:
        _usable(picture, grid)


def read_image(path: Path, mode: str) -> Image.Image:
    """A whole image file of one of `FORMATS` in a mode of Pillow's: "RGB", "L", "F". Raises DataError where it cannot be read."""
    try:
        with Image.open(BytesIO(path.read_bytes()), formats=FORMATS) as image:
            return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{printable(str(path))}: cannot be read as an image ({error_line(error)})") from None


def _rounded(averages: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(averages).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class FilePictures(Images):
    """Pictures too many to keep: each is decoded whenever it is asked for."""

    names: Sequence[str]
    opener: Opener
    grid: Grid
    notes: tuple[str, ...] = ()

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
                f"images: {printable(name)} is broken ({error_line(error)}); remove it, or save it anew"
            ) from None

    def group(self, image_id: int) -> str:
        return printable(self.names[image_id])


def error_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "not a picture in a known format"
    return printable((str(error) or type(error).__name__).splitlines()[0][:300])


def printable(name: str) -> str:
    """A name fit for a terminal and for UTF-8: names may hold newlines, terminal commands or bytes of no text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def sift(
    names: Sequence[str], work: Callable[[str], NDArray[np.uint8] | None], limit: int | None
) -> Iterator[tuple[str, NDArray[np.uint8] | str | None]]:
    """Each name, in order, with what `work` makes of it or, as a text, why it failed; ends after `limit` good ones."""

    def attempt(part: Sequence[str]) -> list[tuple[str, NDArray[np.uint8] | str | None]]:
        results: list[tuple[str, NDArray[np.uint8] | str | None]] = []
        for name in part:
            try:
                results.append((name, work(name)))
            except MemoryError:  # not the picture's fault
                raise
            except Exception as error:  # decoders of broken files raise nearly anything
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


class Pictures(Dataset):
    """Pictures from a folder (with all folders in it), a .zip or an .npz; sub-folders `train` and `test`, or `val`, are the split.

    A picture is turned upright, centre-cropped to the grid's aspect and averaged over its cells, to 8 bits. Those that
    are broken, or smaller than the grid, are left out and named in `notes`. Up to 1 GiB of pictures is decoded at once
    and kept. Of a larger set only the headers are read then, and a picture found broken later is a DataError.
    An .npz holds `images`: 8-bit `(N, H, W, 3)` or `(N, H, W)`.
    """

    root: PathSetting = Field(description="a folder, a .zip or an .npz of pictures")
    test_share: float = Field(0.1, gt=0, lt=1, description="share of the pictures to test on, where no split is given")
    test_folder: str | None = Field(
        None, description="folder of the pictures to test on, beside train; null: test, else val or validation"
    )

    def missing(self) -> str | None:
        return None if Path(self.root).exists() else f"images: {self.root} does not exist"

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        path = Path(self.root)
        if missing := self.missing():
            raise DataError(f"{missing}; set data.root to a folder, a .zip or an .npz of pictures")
        try:
            if path.suffix.lower() == ".npz":
                return self._array(path, split, grid, seed, limit)
            names, opener = _folder(path) if path.is_dir() else _zip(path)
        except DataError:
            raise
        except UNREADABLE as error:
            raise DataError(
                f"images: {path} cannot be read as a folder, a .zip or an .npz ({error_line(error)})"
            ) from None
        if not names:
            raise DataError(f"images: {path} holds no picture ({', '.join(sorted(SUFFIXES))})")
        return self._files(choose(names, split, seed, self.test_share, self.test_folder), opener, split, grid, limit)

    def _files(self, names: list[str], opener: Opener, split: Split, grid: Grid, limit: int | None) -> Images:
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
            raise DataError(f"images: no usable picture for the {split} split in {self.root}: {some}")
        notes = (f"images: {len(broken)} pictures of the {split} split are left out: {some}",) if broken else ()
        if not keep:
            return FilePictures(used, opener, grid, notes)
        return ArrayImages(pixels[: len(used)], np.arange(len(used)), [printable(name) for name in used], grid, notes)

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
                f"images: the pictures of {path} have {pixels.shape[1]}x{pixels.shape[2]} pixels, fewer than {grid}"
            )
        rows = np.array(
            [int(name) for name in choose(map(str, range(len(pixels))), split, seed, self.test_share)][:limit]
        )
        kept = ArrayImages(pixels[rows], np.arange(len(rows)), [str(row) for row in rows], grid)
        if pixels.shape[1:3] == grid.shape:
            return kept
        box = centre_box(pixels.shape[1:3], grid)
        parts = [
            _rounded(cell_averages(area_table(kept.pixels[i : i + 64]), box, grid)) for i in range(0, len(rows), 64)
        ]
        return replace(kept, pixels=np.concatenate(parts))
