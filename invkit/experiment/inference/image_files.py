"""Input files of `invkit reconstruct`: search by path, and reading of images and masks."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import decoding
from invkit.data.decoding import SUFFIXES, Range, decode, header, printable, read
from invkit.data.listing import UNREAD, image_names, unread_note
from invkit.data.resampling import to_batch
from invkit.experiment.inference.unit import PIXELS, Unit

POINTS = (".csv", ".npz")
LONGEST = 150  # bytes of the name of an output, of the 255 of most file systems


@dataclass(frozen=True)
class InputFile:
    """One input file, and the name of its outputs."""

    path: Path
    name: str

    @property
    def holds_numbers(self) -> bool:
        """Whether it holds points or an array, and no image."""
        return self.path.suffix.lower() not in SUFFIXES

    @property
    def key(self) -> int:
        """Id of its random numbers: a hash of the name, so that other inputs do not change its samples."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=7).digest(), "little")

    def __str__(self) -> str:
        return printable(os.fspath(self.path))


def find_inputs(given: Sequence[Path], others: Sequence[str] = POINTS) -> list[InputFile]:
    """The given files, images or of the suffixes `others`, and the images in the given folders, in order, each with a unique name.

    A name is the file's without its suffix; for files in a folder, prefixed by their subfolders. A second file of the same
    name gets the suffix `-2`. Raises DataError for missing files and unknown kinds.
    """
    files: list[InputFile] = []
    taken = {"reconstruct.json"}
    for path in given:
        if path.is_dir():
            inside = image_names(path)
            if not inside:
                others = f", but {note}" if (note := unread_note(image_names(path, UNREAD))) else ""
                raise DataError(
                    f"{printable(str(path))}: no image in this folder ({', '.join(sorted(SUFFIXES))}){others}"
                )
        else:
            inside = [path.name]
            _check_file(path, others)
        for name in inside:
            stem = _valid_name("-".join(Path(name).with_suffix("").parts))
            unique, number = stem, 2
            while taken & _outputs(unique):
                unique, number = f"{stem}-{number}", number + 1
            taken |= _outputs(unique)
            files.append(InputFile(path / name if path.is_dir() else path, unique))
    return files


def _outputs(name: str) -> set[str]:
    """The output files of a name, as file systems compare them: some ignore case and the form of accents."""
    return {unicodedata.normalize("NFC", name + suffix).casefold() for suffix in ("", ".npz", ".csv")}


def _check_file(path: Path, others: Sequence[str]) -> None:
    where = printable(os.fspath(path))
    if not path.exists():
        raise DataError(f"{where}: no such file or folder in {Path.cwd()}")
    if not path.is_file():
        raise DataError(f"{where}: not a file")
    if path.suffix.lower() not in (*SUFFIXES, *others):
        kinds = ", ".join([*sorted(SUFFIXES), *others])
        what = "an image nor points (arrays of measured values need --measured)"
        what = what if ".csv" in others else "an image nor an array"
        raise DataError(f"{where}: neither {what}; supported suffixes are {kinds}")


def _valid_name(stem: str) -> str:
    """A name that is valid in any file system and printable."""
    kept = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem)
    return kept.strip(". ")[:100].encode()[:LONGEST].decode(errors="ignore").strip(". ") or "_"


def image_header(path: Path, channels: int, span: Range | None) -> tuple[Grid, Unit]:
    """The grid of an image's own pixels, and the unit of its values: `span`, or that of a file of more than 8 bits, else [-1, 1].

    Raises DataError for an unusable image.
    """
    (height, width), _, deep = read(path, header)
    low, high = span or deep or (PIXELS.low, PIXELS.high)
    return Grid(height, width, channels), Unit(low, high) if low < high else PIXELS


def image_grid(path: Path, channels: int) -> Grid:
    """The grid of an image's own pixels. Raises DataError for an unusable image."""
    return image_header(path, channels, None)[0]


def read_image(path: Path, grid: Grid, span: Range | None = None) -> Tensor:
    """An image, centre-cropped to the grid's aspect and averaged over its cells: (1, C, H, W) in [-1, 1]; grey for one channel.

    `span` are the values that mean -1 and 1, by default those of black and white.
    """
    if grid.channels not in (1, 3):
        raise DataError(
            f"{printable(str(path))}: image files have 1 or 3 channels, and the run has {grid.channels}; give points"
        )
    pixels = read(path, lambda file: decode(file, grid, span), "; save it again, or give another --grid")
    return to_batch(pixels[None], grid)


def read_mask(path: Path, inverted: bool = False) -> Tensor:
    """A mask from an image that is white at observed pixels: (1, 1, H, W) bool. Raises DataError if none is observed.

    An `inverted` mask is white at missing pixels, as in photo editors and OpenCV.
    """
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such mask in {Path.cwd()}")
    observed = decoding.read_mask(path) != inverted
    if not observed.any():
        color = "white" if inverted else "black"
        raise DataError(
            f"{printable(str(path))}: the mask is {color} everywhere, so that no pixel is observed; white means observed, "
            "or missing with --invert-mask"
        )
    return torch.from_numpy(observed)[None, None]
