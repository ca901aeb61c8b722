"""Decoding of an image file: checks, EXIF orientation, resampling to a grid."""

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from invkit.core.errors import DataError, first_line
from invkit.core.grid import Grid
from invkit.data.resampling import area_table, cell_averages, centre_box, enlarges

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_BYTES = 128 << 20  # of one file
MAX_PIXELS = 64_000_000  # of one image
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some


def _upright(image: Image.Image) -> tuple[int, int]:
    """Height and width of an image in upright orientation, from its header; raises ValueError if it cannot be used."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are too many")
    if image.mode[0] in "IF":
        raise ValueError("not an image of 8 bits per channel")
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by 90 degrees
    return (width, height) if turned else (height, width)


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Height and width of an image in upright orientation, from its header; a broken file may raise any exception."""
    with file, Image.open(file, formats=FORMATS) as image:
        return _upright(image)


def _usable(image: Image.Image, grid: Grid) -> Image.Image:
    """The image, unchanged; raises ValueError if it cannot be used on the grid."""
    height, width = _upright(image)
    if enlarges((height, width), grid):
        raise ValueError(f"{width}x{height} pixels, smaller than {grid}")
    return image


def decode(file: BinaryIO, grid: Grid) -> NDArray[np.uint8]:
    """Decode an image: upright, RGB, centre-cropped to the grid's aspect and averaged over its cells, `(H, W, 3)`."""
    with file, Image.open(file, formats=FORMATS) as opened:
        image = ImageOps.exif_transpose(_usable(opened, grid)).convert("RGB")
    if (image.height, image.width) == grid.shape:
        return np.asarray(image)
    box = centre_box((image.height, image.width), grid)
    factor = int((box[2] - box[0]) / grid.height) // 4
    if factor > 1:  # the table of a large image would take gigabytes; its cells are at least 8 pixels wide
        top, left, bottom, right = map(round, box)
        image = image.reduce(factor, (left, top, right, bottom))
        box = (0, 0, (bottom - top) / factor, (right - left) / factor)
    return to_bytes(cell_averages(area_table(np.asarray(image)), box, grid))


def check(file: BinaryIO, grid: Grid) -> None:
    """Raise the errors of `decode` that can be detected from the header of an image."""
    with file, Image.open(file, formats=FORMATS) as image:
        _usable(image, grid)


def to_bytes(averages: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(averages).clip(0, 255).astype(np.uint8)


def error_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "not a image in a known format"
    return printable(first_line(error)[:300])


def printable(name: str) -> str:
    """A file name safe for a terminal: newlines, control sequences and undecodable bytes are replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def read_image(path: Path, mode: str) -> Image.Image:
    """Read an image file of one of `FORMATS`, converted to a Pillow mode ("RGB", "L", "F"). Raises DataError on failure."""
    try:
        with Image.open(BytesIO(path.read_bytes()), formats=FORMATS) as image:
            return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files may raise any exception
        raise DataError(f"{printable(str(path))}: cannot be read as an image ({error_line(error)})") from None
