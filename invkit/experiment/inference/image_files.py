"""Input files of `invkit reconstruct`: found by path, and images and masks read from them."""

import hashlib
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
from invkit.data.listing import image_names
from invkit.data.resampling import to_batch

POINTS = (".csv", ".npz")


@dataclass(frozen=True)
class InputFile:
    """One input file, and the name of its outputs."""

    path: Path
    name: str

    @property
    def is_points(self) -> bool:
        return self.path.suffix.lower() in POINTS

    @property
    def key(self) -> int:
        """Its random-number key: a hash of the name, so that other inputs do not change its samples."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=7).digest(), "little")

    def __str__(self) -> str:
        return printable(os.fspath(self.path))


def find_inputs(given: Sequence[Path]) -> list[InputFile]:
    """The given files and the images in the given folders, in order, each with a unique name.

    A name is the file's without its suffix; for files in a folder, prefixed by their subfolders. A second file of the same
    name gets the suffix `-2`. Raises DataError for missing files and unknown kinds.
    """
    found: list[InputFile] = []
    taken: set[str] = set()
    for path in given:
        if path.is_dir():
            inside = image_names(path)
            if not inside:
                raise DataError(f"{printable(str(path))}: no picture in it ({', '.join(sorted(SUFFIXES))})")
        else:
            inside = [path.name]
            _check_file(path)
        for name in inside:
            stem = _plain("-".join(Path(name).with_suffix("").parts))
            own, number = stem, 2
            while own.lower() in taken:  # some file systems ignore case
                own, number = f"{stem}-{number}", number + 1
            taken.add(own.lower())
            found.append(InputFile(path / name if path.is_dir() else path, own))
    return found


def _check_file(path: Path) -> None:
    where = printable(os.fspath(path))
    if not path.exists():
        raise DataError(f"{where}: there is no such file")
    if not path.is_file():
        raise DataError(f"{where}: not a file")
    if path.suffix.lower() not in (*SUFFIXES, *POINTS):
        kinds = ", ".join(sorted(SUFFIXES) + list(POINTS))
        raise DataError(f"{where}: neither a picture nor points; the kinds that are read end in {kinds}")


def _plain(stem: str) -> str:
    """A name that is valid in any file system and printable."""
    kept = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem)
    return kept.strip(". ")[:100] or "_"


def image_grid(path: Path, channels: int) -> Grid:
    """The grid of an image's own pixels, from its header. Raises DataError for an unusable image."""
    try:
        check_size(path)
        return Grid(*upright_size(path.open("rb")), channels)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{printable(str(path))}: cannot be read as a picture ({error_line(error)})") from None


def read_image(path: Path, grid: Grid) -> Tensor:
    """An image, centre-cropped to the grid's aspect and averaged over its cells: (1, C, H, W) in [-1, 1]; grey for one channel."""
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
    """A mask from an image that is white at observed pixels: (1, 1, H, W) bool. Raises DataError if none is observed."""
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: there is no such mask")
    observed = read_image(path, image_grid(path, 1)) > 0
    if not bool(observed.any()):
        raise DataError(f"{printable(str(path))}: the mask is black everywhere; it is white where pixels are seen")
    return observed


def check_size(path: Path) -> None:
    """Raises ValueError, or OSError, for anything but a file of at most 128 MiB."""
    if not path.is_file():  # opening a pipe would block
        raise ValueError("not a file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
