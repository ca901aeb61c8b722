"""Files of measured values y = A x: arrays of any shape, and images where y is one."""

import os
from pathlib import Path

from torch import Tensor

from invkit.core.arrays import as_tensor
from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.archive import UNREADABLE, read_npy, read_npz
from invkit.data.decoding import Range, check_file, decode_exactly, error_line, printable, read
from invkit.data.resampling import to_batch
from invkit.experiment.inference.image_files import image_grid
from invkit.experiment.trained_model import Trained
from invkit.physics.given import averages, fixed_operator

ARRAYS = (".npy", ".npz")


def read_array(path: Path) -> Tensor:
    """The array of an .npy, or the array `y` of an .npz. Raises DataError if it is unusable."""
    where = printable(os.fspath(path))
    try:
        check_file(path)
        if path.suffix.lower() == ".npz":
            array = read_npz(path, "y")
        else:
            with path.open("rb") as file:
                array = read_npy(file, path.stat().st_size)
        return as_tensor(array, "y")
    except KeyError as error:
        raise DataError(
            f"{where}: the file contains {printable(error.args[0])[:80]}; with --measured it needs an array y"
        ) from None
    except UNREADABLE as error:
        raise DataError(f"{where}: cannot be read as an array ({error_line(error)}); save it again") from None


def image_shape(path: Path, trained: Trained) -> tuple[int, int, int]:
    """The shape (C, H, W) of y in an image file. Raises DataError where the degradation measures no image."""
    operator = fixed_operator(trained.recipe.degradation, trained.reference, 1)
    shape = operator.range_shape
    if len(shape) != 3 or shape[0] not in (1, 3) or not averages(operator):
        raise DataError(
            f"{printable(str(path))}: {trained.degradation} measures values {shape} on {trained.reference}, which are not "
            "an image of weighted means; save them as an array in an .npy file"
        )
    return image_grid(path, shape[0]).picture


def measured_image(path: Path, shape: tuple[int, ...], span: Range | None) -> Tensor:
    """The pixels of an image of a `shape` (C, H, W): (1, C, H, W), from -1, black or the lower value of `span`, to 1."""
    channels, height, width = shape
    grid = Grid(height, width, channels)
    return to_batch(read(path, lambda file: decode_exactly(file, grid, span))[None], grid)


def measured_grid(trained: Trained, shape: tuple[int, ...], size: int | tuple[int, int] | None) -> Grid:
    """The grid of `--grid`, or the one that values of a shape imply. Raises ValueError if none does."""
    if isinstance(size, tuple):
        return Grid(*size, trained.model.channels)
    grid = trained.implied_grid(shape) if size is None or len(shape) == 3 else trained.reference
    return grid if size is None else grid.scaled(size)
