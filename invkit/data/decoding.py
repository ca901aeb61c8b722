"""One image file to checked, upright, resampled pixels."""

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

MAX_PIXELS = 64_000_000  # of one picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some


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
    return to_bytes(cell_averages(area_table(np.asarray(picture)), box, grid))


def check(file: BinaryIO, grid: Grid) -> None:
    """What `decode` refuses of a picture, as far as its header tells."""
    with file, Image.open(file, formats=FORMATS) as picture:
        _usable(picture, grid)


def to_bytes(averages: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(averages).clip(0, 255).astype(np.uint8)


def error_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "not a picture in a known format"
    return printable(first_line(error)[:300])


def printable(name: str) -> str:
    """A name fit for a terminal and for UTF-8: names may hold newlines, terminal commands or bytes of no text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def read_image(path: Path, mode: str) -> Image.Image:
    """A whole image file of one of `FORMATS` in a mode of Pillow's: "RGB", "L", "F". Raises DataError where it cannot be read."""
    try:
        with Image.open(BytesIO(path.read_bytes()), formats=FORMATS) as image:
            return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{printable(str(path))}: cannot be read as an image ({error_line(error)})") from None
