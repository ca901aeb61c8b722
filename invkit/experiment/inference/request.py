"""Options of `invkit reconstruct`, checked against the trained run."""

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.diffusion import Sample
from invkit.experiment.inference.image_files import read_mask
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.reconstructors.calibration import Calibration, percent


@dataclass(frozen=True)
class Options:
    """How inputs are read, measured and sampled."""

    mask: Path | None = None  # of images that are already degraded
    invert_mask: bool = False  # whether the mask is white at missing pixels
    measured: bool = False  # whether inputs hold y, as measured by the recipe's degradation
    grid: str | None = None  # N, HxW or picture; None: the pixels of an image, or the finest training grid for points
    tiles: bool | None = None  # None: for a large masked image, if every tile has observed pixels
    samples: int = 19
    seed: int = 0
    sampler: str | None = None  # None: the recipe's
    steps: int | None = None  # None: the recipe's
    calibrated: bool = False  # whether the interval is the calibrated one of the run
    span: tuple[float, float] | None = None  # the pixel values that mean -1 and 1 in points and measured values


@dataclass(frozen=True, eq=False)
class Request:
    """A trained run and options that fit it, with the mask read and `--grid` parsed."""

    trained: Trained
    options: Options
    size: int | tuple[int, int] | None  # cells along the shorter side, or height and width; None: not given, or picture
    mask: Tensor | None  # (1, 1, H, W) bool
    span: tuple[float, float]
    settings: Sample

    @classmethod
    def of(cls, trained: Trained, options: Options) -> "Request":
        """Check the options. Raises RecipeError if they contradict the run or each other, DataError for an unusable mask."""
        if options.measured and (options.mask or options.grid == "picture"):
            raise RecipeError(
                "--measured is for values of the recipe's own operator: give it without --mask (for images with a mask, --mask "
                "alone) and without --grid picture (the grid follows from the values)"
            )
        size = parse_grid(options.grid) if options.grid else None
        if options.invert_mask and not options.mask:
            raise RecipeError("--invert-mask is for a mask, and none is given; give --mask FILE")
        mask = read_mask(options.mask, options.invert_mask) if options.mask else None
        if mask is not None and isinstance(size, tuple):
            raise RecipeError("--mask keeps the aspect ratio of the image; give --grid N, or leave it out")
        if isinstance(trained.recipe.degradation, Nothing):
            raise RecipeError(
                "this run is an unconditional prior (degradation: nothing) and cannot reconstruct; give another run"
            )
        low, high = span = options.span or _default_span(trained)
        if not low < high:
            raise RecipeError(f"--range {low:g} {high:g}: the first number must be the smaller one")
        if options.samples < 1:
            raise RecipeError("--samples: at least one is needed")
        try:
            settings = trained.sampling(options.sampler, options.steps)
        except ValueError as error:
            raise RecipeError(f"--sampler, --steps: {error}") from None
        return cls(trained, options, size, mask, span, settings)

    @property
    def channels(self) -> int:
        return self.trained.model.channels

    def calibration(self, grid: Grid) -> Calibration:
        """The stored factor of the run's interval, the one of `eval.alpha`. Raises RecipeError if there is none for a grid."""
        stored, reason = self.trained.stored_calibrations(grid, self.settings, self.options.samples)
        asked = percent(self.trained.recipe.eval.alpha)
        if (found := next((one for one in stored if one.percent == asked), None)) is None:
            raise RecipeError(f"--calibrated: {reason}")
        return found

    @property
    def degradation(self) -> str:
        """Name of the recipe's degradation."""
        return self.trained.degradation


def _default_span(trained: Trained) -> tuple[float, float]:
    """The values that mean -1 and 1 in the images of the training, where the recipe has them in this order."""
    own = trained.recipe.data.span
    return own if own is not None and own[0] < own[1] else (-1.0, 1.0)


def parse_grid(text: str) -> int | tuple[int, int] | None:
    """Cells along the shorter side, `N`, or height and width, `HxW`; None for `picture`.

    >>> parse_grid("48"), parse_grid("30x41"), parse_grid("picture")
    (48, (30, 41), None)
    """
    if text == "picture":
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not match:
        raise RecipeError(f"--grid {text}: must be N, HxW as in 48x64, or picture")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])
