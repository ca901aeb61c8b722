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
from invkit.data.archive import read_npy
from invkit.data.resampling import Box, box_averages, centre_box, enlarges

T = TypeVar("T")
Size = tuple[int, ...]  # height and width
Range = tuple[float, float]
SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_BYTES = 128 << 20  # of one file
MAX_PIXELS = 64_000_000  # of one image
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some
LUMINANCE = np.array([0.299, 0.587, 0.114])  # Rec. 601


def _upright(image: Image.Image) -> Size:
    """Height and width of an image in upright orientation, from its header."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose size is upright already in some versions of Pillow
        width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by 90 degrees
    return (width, height) if turned else (height, width)


def _check_pixels(size: Size) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[1]}x{size[0]} pixels are too many")


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF"


def _array(file: BinaryIO) -> NDArray[Any] | None:
    """The array (h, w, C) of an .npy file; None, with the file at its start, if it is of another format."""
    size = file.seek(0, 2)
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    if magic != b"\x93NUMPY":
        return None
    array = read_npy(file, size)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.dtype.kind not in "buif":
        raise ValueError(f"an array {array.dtype} {array.shape}; an image is (H, W), (H, W, 1) or (H, W, 3), and real")
    _check_pixels(array.shape[:2])
    return array


def header(file: BinaryIO) -> tuple[Size, bool, Range | None]:
    """Height and width of an image in upright orientation, whether it is grey, and, for more than 8 bits, black and white.

    These are 0 and 65535, and 0 and 1 for floats. A broken file may raise any exception.
    """
    with file:
        if (array := _array(file)) is not None:
            return array.shape[:2], array.shape[2] == 1, None
        with Image.open(file, formats=FORMATS) as image:
            _check_pixels(size := _upright(image))
            deep = (0.0, 65535.0) if _is_16_bit(image) else (0.0, 1.0) if image.mode[0] in "IF" else None
            return size, _is_grey(image), deep


def _check(size: Size, grid: Grid) -> None:
    """Raise ValueError if an image of a size cannot be used on the grid."""
    if enlarges(size, grid):
        raise ValueError(f"{size[1]}x{size[0]} pixels, smaller than {grid}")


def check(file: BinaryIO, grid: Grid) -> None:
    """Raise the errors of `decode` that can be detected from the header of an image."""
    _check(header(file)[0], grid)


def read_pixels(file: BinaryIO, check: Callable[[Size], object] = lambda size: None) -> NDArray[Any]:
    """The pixels of an image or an .npy, upright: (h, w, C), C = 1 for grey images and 3 for others.

    Their type is that of the file: uint8, uint16 for grey images of 16 bits, float32 and int32 for such TIFFs, and any real
    type of an array. `check` is called with height and width before the pixels of an image are decoded.
    """
    with file:
        if (array := _array(file)) is not None:
            check(array.shape[:2])
            return array
        with Image.open(file, formats=FORMATS) as opened:
            _check_pixels(size := _upright(opened))
            check(size)
            deep, grey = _is_16_bit(opened), _is_grey(opened)
            image = ImageOps.exif_transpose(opened)
    if image.mode[0] not in "IF":
        image = image.convert("L" if grey else "RGB")
    pixels = np.asarray(image)
    pixels = pixels.astype(np.uint16 if deep else pixels.dtype.newbyteorder("="), copy=False)
    return pixels.reshape(*pixels.shape[:2], -1)


def _resampled(pixels: NDArray[Any], grid: Grid, box: Box | None = None) -> NDArray[np.float64]:
    """The averages of pixels (h, w, C) over the cells of a grid on a box, by default the centre, in the grid's channels."""
    if box is not None or pixels.shape[:2] != grid.shape:
        pixels = box_averages(pixels, box or centre_box(pixels.shape[:2], grid), grid)
    if pixels.shape[2] == grid.channels:
        return pixels.astype(np.float64)
    if grid.channels not in (1, 3):
        raise ValueError(f"image files have 1 or 3 channels, not {grid.channels}")
    return (pixels @ LUMINANCE)[..., None] if grid.channels == 1 else pixels.astype(np.float64).repeat(3, 2)


def black_and_white(pixels: NDArray[Any], span: Range | None = None) -> Range:
    """The values that mean black and white: `span`, or those of the type; floats in [0, 1] are shares of white.

    Raises ValueError for other values without `span`.
    """
    if span is not None:
        return span
    if pixels.dtype in (np.uint8, np.uint16):
        return 0, np.iinfo(pixels.dtype).max
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind in "bf" and low >= 0 and high <= 1:
        return 0, 1
    raise ValueError(f"{pixels.dtype} values from {low:.6g} to {high:.6g}; set data.range to those of black and white")


def decode(file: BinaryIO, grid: Grid, span: Range | None = None) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Decode an image: upright, centre-cropped to the grid's aspect and averaged over its cells: (H, W, C), 0 to 255.

    Images of 8 bits are rounded to 8 bits, unless `span` gives the values that mean 0 and 255.
    """
    return stored(read_pixels(file, lambda size: _check(size, grid)), grid, span)


def decode_exactly(file: BinaryIO, grid: Grid, span: Range | None = None) -> NDArray[np.float64]:
    """The same without rounding."""
    return onto(read_pixels(file, lambda size: _check(size, grid)), grid, span)


def stored(pixels: NDArray[Any], grid: Grid, span: Range | None = None) -> NDArray[np.uint8] | NDArray[np.float32]:
    """The pixels (h, w, C) of an image on a grid, as `decode` returns them."""
    values = onto(pixels, grid, span)
    return to_bytes(values) if pixels.dtype == np.uint8 and span is None else values.astype(np.float32)


def onto(pixels: NDArray[Any], grid: Grid, span: Range | None = None, box: Box | None = None) -> NDArray[np.float64]:
    """The pixels (h, w, C) of an image on a grid over a box, by default the centre: from 0, black, to 255, white."""
    low, high = black_and_white(pixels, span)
    values = (_resampled(pixels, grid, box) - low) * (255 / (high - low))
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    return values


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
    """The pixel values of an image file or .npy: (H, W, C), upright, 0 to 255, or to 65535 for a grey image of 16 bits.

    C is 1 for grey images and 3 for others; an array and a float TIFF keep their own values. On a grid the image is
    centre-cropped to the grid's aspect and averaged over its cells, in the grid's channels. Raises DataError if the file
    cannot be read.
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
    low, high = pixels.min(), pixels.max()
    if high == 1 or (low < high and bool(((pixels == low) | (pixels == high)).all())):
        share = _resampled((pixels == high).astype(np.uint8), single)
    else:
        span = None if pixels.dtype in (np.uint8, np.uint16) else (0.0, float(high) or 1.0)
        share = onto(pixels, single, span) / 255
    return share[..., 0] >= 0.5 - 1e-9  # cells are summed in floating point
