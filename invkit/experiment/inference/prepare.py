"""Inputs of `invkit reconstruct`: checked before any computation, then measured."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.experiment.inference.image_files import InputFile, image_header, read_image
from invkit.experiment.inference.measured_files import ARRAYS, image_shape, measured_grid, measured_image, read_array
from invkit.experiment.inference.point_files import Points, read_points
from invkit.experiment.inference.request import Request
from invkit.experiment.inference.unit import PIXELS, Unit
from invkit.physics.measurement import Measurement, measure
from invkit.physics.noise import white_sigma
from invkit.physics.operators.points import PointValues
from invkit.physics.points import bin_points

MAX_VALUES = 3 << 28  # of all samples of one input: 3 GiB


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """A checked input: the points of its file, or the size of its image, whose pixels are decoded when it is measured."""

    file: InputFile
    grid: Grid  # of the reconstruction
    image_grid: Grid | None = None  # the image's own pixels; None for points and with --grid HxW
    points: Points | None = None
    y: Tensor | None = None  # measured values of an array file
    y_shape: tuple[int, ...] | None = None  # of measured values, whether read already or not
    unit: Unit = PIXELS  # of the values of the file, and of the results


def prepare(request: Request, file: InputFile) -> PreparedInput:
    """Read the header or the points of an input, and check it. Raises DataError or RecipeError."""
    prepare_one = (
        _prepare_measured if request.options.measured else _prepare_points if file.holds_numbers else _prepare_image
    )
    prepared = prepare_one(request, file)
    grid, count = prepared.grid, request.options.samples
    if request.options.calibrated:
        request.calibration(grid)
    if grid.pixels * grid.channels * count > MAX_VALUES:
        most = MAX_VALUES // (grid.pixels * grid.channels)
        raise DataError(
            f"{file}: {count} samples on {grid} have more than {MAX_VALUES:,} values; give a coarser --grid, or at most "
            f"--samples {most}"
        )
    return prepared


def _prepare_points(request: Request, file: InputFile) -> PreparedInput:
    if request.options.grid == "picture":
        raise RecipeError(f"{file}: points have no pixel grid; give --grid N or HxW, or leave it out")
    grid = request.trained.reference
    if isinstance(request.size, tuple):
        grid = Grid(*request.size, request.channels)
    elif request.size is not None:
        grid = grid.scaled(request.size)
    points = read_points(file.path, request.channels, *request.span)
    return PreparedInput(file, grid, points=points, unit=Unit(*request.span))


def _prepare_image(request: Request, file: InputFile) -> PreparedInput:
    span = request.options.span or request.trained.recipe.data.span
    pixels, unit = image_header(file.path, request.channels, span)
    if isinstance(request.size, tuple):
        return PreparedInput(file, Grid(*request.size, request.channels), unit=unit)
    grid = pixels
    if request.size is not None:
        grid = pixels.scaled(request.size)
    if request.mask is not None and pixels.shape != tuple(request.mask.shape[2:]):
        height, width = request.mask.shape[2:]
        raise DataError(
            f"{file}: {pixels.width}x{pixels.height} pixels, and the mask {request.options.mask} has {width}x{height}; "
            "they must be equal"
        )
    return PreparedInput(file, grid, pixels, unit=unit)


def _prepare_measured(request: Request, file: InputFile) -> PreparedInput:
    y = read_array(file.path) if file.path.suffix.lower() in ARRAYS else None
    try:
        shape = tuple(y.shape) if y is not None else image_shape(file.path, request.trained)
        grid = measured_grid(request.trained, shape, request.size)
        return PreparedInput(file, grid, y=y, y_shape=shape, unit=PIXELS if y is None else Unit(*request.span))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None


def _measured(request: Request, prepared: PreparedInput) -> Measurement:
    """The measurement of given values; `--range` applies to those of arrays."""
    y = prepared.y
    if y is None:
        assert prepared.y_shape is not None
        y = measured_image(prepared.file.path, prepared.y_shape, request.trained.recipe.data.span)
    try:
        return request.trained.measurement(y, prepared.grid, span=(prepared.unit.low, prepared.unit.high))
    except ValueError as error:
        raise DataError(f"{prepared.file}: {error}") from None


def measure_input(request: Request, prepared: PreparedInput) -> tuple[Measurement, Tensor | None]:
    """The measurement, and the ground truth (1, C, H, W) if the recipe's degradation is applied to the input."""
    file, grid, recipe = prepared.file, prepared.grid, request.trained.recipe
    if prepared.y_shape is not None:
        return _measured(request, prepared), None
    if prepared.points is not None:
        points = prepared.points
        y = points.values.T[None].float()
        return Measurement(
            PointValues(grid, points.coordinates[None]), y, white_sigma(recipe.noise, "reconstructing points")
        ), None
    span = request.options.span or recipe.data.span
    if request.mask is not None:
        assert prepared.image_grid is not None
        x = read_image(file.path, prepared.image_grid, span)
        at, values = observed_points(x, request.mask)
        return bin_points(at[None], values[None], grid, white_sigma(recipe.noise, "--mask")), None
    x = read_image(file.path, grid, span)
    keys = Keys.of(request.options.seed, "reconstruct", [file.key])
    try:
        operator = recipe.degradation.sample(keys.child("operator"), grid)
        return measure(operator, x, recipe.noise, keys.child("noise")), x
    except ValueError as error:
        raise DataError(f"{file}: {request.degradation} does not fit {grid} ({error}); give another --grid") from None


def observed_points(
    x: Tensor,  # (1, C, H, W)
    observed: Tensor,  # (1, 1, H, W)
) -> tuple[Tensor, Tensor]:
    """The observed pixels as points at their centres: coordinates (N, 2) and values (N, C)."""
    rows, columns = observed[0, 0].nonzero().unbind(1)
    size = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float64)
    return (torch.stack([columns, rows], 1) + 0.5) / size, x[0, :, rows, columns].T
