"""What somebody gives to be reconstructed: files, folders of pictures, and the picture of a mask."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.decoding import MAX_BYTES, SUFFIXES, decode, error_line, printable, upright_size
from invkit.data.listing import pictures_in
from invkit.data.resampling import to_batch

POINTS = (".csv", ".npz")


@dataclass(frozen=True)
class Source:
    """One input: its file, and the name of what is made of it."""

    path: Path
    name: str

    @property
    def points(self) -> bool:
        return self.path.suffix.lower() in POINTS

    def __str__(self) -> str:
        return printable(os.fspath(self.path))


def find_sources(given: Sequence[Path]) -> list[Source]:
    """The files that are named, and the pictures in the folders that are, in order, each with a name of its own.

    A name is the file's without its suffix, in a folder with the folders on the way to it; a second of one name ends in
    `-2`. Raises DataError for what is not there or of no kind that is read.
    """
    found: list[Source] = []
    taken: set[str] = set()
    for path in given:
        if path.is_dir():
            inside = pictures_in(path)
            if not inside:
                raise DataError(f"{printable(str(path))}: no picture in it ({', '.join(sorted(SUFFIXES))})")
        else:
            inside = [path.name]
            _check_file(path)
        for name in inside:
            stem = _plain("-".join(Path(name).with_suffix("").parts))
            own, number = stem, 2
            while own.lower() in taken:  # some file systems know no capitals
                own, number = f"{stem}-{number}", number + 1
            taken.add(own.lower())
            found.append(Source(path / name if path.is_dir() else path, own))
    return found


def _check_file(path: Path) -> None:
    said = printable(os.fspath(path))
    if not path.exists():
        raise DataError(f"{said}: there is no such file")
    if not path.is_file():
        raise DataError(f"{said}: not a file")
    if path.suffix.lower() not in (*SUFFIXES, *POINTS):
        kinds = ", ".join(sorted(SUFFIXES) + list(POINTS))
        raise DataError(f"{said}: neither a picture nor points; the kinds that are read end in {kinds}")


def _plain(stem: str) -> str:
    """A name that any file system and terminal takes."""
    kept = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem)
    return kept.strip(". ")[:100] or "_"


def picture_grid(path: Path, channels: int) -> Grid:
    """The grid of a picture's own pixels. Raises DataError where it cannot be used."""
    try:
        check_size(path)
        return Grid(*upright_size(path.open("rb")), channels)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{printable(str(path))}: cannot be read as a picture ({error_line(error)})") from None


def read_picture(path: Path, grid: Grid) -> Tensor:
    """A picture, centre-cropped to the grid's aspect and averaged over its cells: (1, C, H, W) in [-1, 1]; grey for one channel."""
    if grid.channels not in (1, 3):
        raise DataError(
            f"{printable(str(path))}: a picture has 3 channels or 1, and the run's have {grid.channels}; give points"
        )
    try:
        check_size(path)
        pixels = decode(path.open("rb"), grid)
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(
            f"{printable(str(path))}: cannot be used as a picture on {grid} ({error_line(error)}); save it anew, or give "
            "another --grid"
        ) from None
    if grid.channels == 1:
        pixels = np.array(Image.fromarray(pixels).convert("L"))[..., None]
    return to_batch(pixels[None], grid)


def read_mask(path: Path) -> Tensor:
    """A picture of a mask, white where pixels are seen: (1, 1, H, W) bool. Raises DataError where it shows nothing."""
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: there is no such mask")
    observed = read_picture(path, picture_grid(path, 1)) > 0
    if not bool(observed.any()):
        raise DataError(f"{printable(str(path))}: the mask is black everywhere; it is white where pixels are seen")
    return observed


def check_size(path: Path) -> None:
    """Raises ValueError, or OSError, for what is not a file of at most 128 MiB."""
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError("not a file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
