"""Decoding of an image file: checks, EXIF orientation, resampling to a grid. All images, masks and kernels are read here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from invkit.core.errors import DataError, first_line
from invkit.core.grid import Grid
from invkit.data.resampling import box_averages, centre_box, enlarges

T = TypeVar("T")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_BYTES = 128 << 20  # of one file
MAX_PIXELS = 64_000_000  # of one image
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some
LUMINANCE = np.array([0.299, 0.587, 0.114])  # Rec. 601


def _upright(image: Image.Image) -> tuple[int, int]:
    """Height and width of an image in upright orientation, from its header; raises ValueError if it cannot be used."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose size is upright already in some versions of Pillow
        width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are too many")
    if image.mode in ("F", "I") and not _is_16_bit(image):
        raise ValueError("not an image of 8 or 16 bits per channel")
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by 90 degrees
    return (width, height) if turned else (height, width)


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La")


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Height and width of an image in upright orientation, from its header; a broken file may raise any exception."""
    with file, Image.open(file, formats=FORMATS) as image:
        return _upright(image)


def has_grey_header(file: BinaryIO) -> bool:
    """Whether an image is grey according to its header; a broken file may raise any exception."""
    with file, Image.open(file, formats=FORMATS) as image:
        _upright(image)
        return _is_16_bit(image) or _is_grey(image)


def _check(image: Image.Image, grid: Grid) -> None:
    """Raise ValueError if an image cannot be used on the grid."""
    height, width = _upright(image)
    if enlarges((height, width), grid):
        raise ValueError(f"{width}x{height} pixels, smaller than {grid}")


def check(file: BinaryIO, grid: Grid) -> None:
    """Raise the errors of `decode` that can be detected from the header of an image."""
    with file, Image.open(file, formats=FORMATS) as image:
        _check(image, grid)


def read_pixels(
    file: BinaryIO, check: Callable[[Image.Image], object] = _upright
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels of an image, upright: (h, w, C), C = 1 for grey images and 3 for others; 16 bits are kept for grey ones.

    `check` is called with the opened image before its pixels are decoded.
    """
    with file, Image.open(file, formats=FORMATS) as opened:
        check(opened)
        deep = _is_16_bit(opened)
        image = ImageOps.exif_transpose(opened)
    if deep:
        return np.asarray(image).astype(np.uint16)[..., None]
    pixels = np.asarray(image.convert("L" if _is_grey(image) else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def _resampled(pixels: NDArray[Any], grid: Grid) -> NDArray[np.float64]:
    """Pixels (h, w, C), centre-cropped to the grid's aspect and averaged over its cells, in the channels of the grid."""
    if pixels.shape[:2] != grid.shape:
        pixels = box_averages(pixels, centre_box(pixels.shape[:2], grid), grid)
    if pixels.shape[2] == grid.channels:
        return pixels.astype(np.float64)
    if grid.channels not in (1, 3):
        raise ValueError(f"image files have 1 or 3 channels, not {grid.channels}")
    return (pixels @ LUMINANCE)[..., None] if grid.channels == 1 else pixels.astype(np.float64).repeat(3, 2)


def decode(file: BinaryIO, grid: Grid) -> NDArray[np.uint8]:
    """Decode an image: upright, centre-cropped to the grid's aspect and averaged over its cells, to 8 bits: (H, W, C)."""
    return to_bytes(decode_exactly(file, grid))


def decode_exactly(file: BinaryIO, grid: Grid) -> NDArray[np.float64]:
    """The same without rounding: from 0, black, to 255, white."""
    return onto(read_pixels(file, lambda image: _check(image, grid)), grid)


def onto(pixels: NDArray[Any], grid: Grid) -> NDArray[np.float64]:
    """The pixels (h, w, C) of an image on a grid, as `decode_exactly` returns them."""
    return _resampled(pixels, grid) * (255 / _white(pixels))


def _white(pixels: NDArray[Any]) -> int:
    return int(np.iinfo(pixels.dtype).max)


def to_bytes(averages: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(averages).clip(0, 255).astype(np.uint8)


def error_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "not a image in a known format"
    return printable(first_line(error)[:300])


def printable(name: str) -> str:
    """A file name safe for a terminal: newlines, control sequences and undecodable bytes are replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def check_file(path: Path) -> None:
    """Raise ValueError or OSError unless the path is a file of at most 128 MiB."""
    if not path.is_file():  # a dangling link, or a pipe, which would block
        raise ValueError("not a file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; raises the errors of `check_file`."""
    check_file(path)
    return path.open("rb")


def read(path: Path, work: Callable[[BinaryIO], T], way_out: str = "") -> T:
    """The result of a function of an open image file. Raises DataError, which ends with `way_out`, on any failure."""
    try:
        return work(open_file(path))
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files may raise any exception
        raise DataError(f"{printable(str(path))}: cannot be read as an image ({error_line(error)}){way_out}") from None


def read_image(path: Path, grid: Grid | None = None) -> NDArray[np.float64]:
    """The pixel values of an image file: (H, W, C), upright, 0 to 255, or 0 to 65535 for a grey image of 16 bits.

    C is 1 for grey images and 3 for others. On a grid the image is centre-cropped to the grid's aspect and averaged over
    its cells, in the grid's channels. Raises DataError if the file cannot be read.
    """
    pixels = read(Path(path), read_pixels)
    return pixels.astype(np.float64) if grid is None else _resampled(pixels, grid)


def read_mask(path: Path, grid: Grid | None = None) -> NDArray[np.bool_]:
    """A mask from an image file: (H, W), true where it is white; on a grid, where at least half of a cell is white.

    If an image has two values, such as 0 and 1, the higher one is white; otherwise values count by their brightness. On
    a grid the mask is centre-cropped to the grid's aspect. Raises DataError if the file cannot be read.
    """
    pixels = read(Path(path), read_pixels)
    height, width = grid.shape if grid else pixels.shape[:2]
    single = Grid(height, width, 1)
    low, high = int(pixels.min()), int(pixels.max())
    if high == 1 or (low < high and bool(((pixels == low) | (pixels == high)).all())):
        share = _resampled((pixels == high).astype(np.uint8), single)
    else:
        share = _resampled(pixels, single) / _white(pixels)
    return share[..., 0] >= 0.5 - 1e-9  # cells are summed in floating point
