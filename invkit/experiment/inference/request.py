"""The options of `invkit reconstruct`, checked against the trained run."""

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.experiment.inference.image_files import read_mask
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing


@dataclass(frozen=True)
class Options:
    """How inputs are read, measured and sampled."""

    mask: Path | None = None  # of images that are already degraded
    grid: str | None = None  # N, HxW or picture; None: an image's own, or the training grid for points
    tiles: bool | None = None  # None: for a large masked image, if every tile has observed pixels
    samples: int = 19
    seed: int = 0
    span: tuple[float, float] | None = None  # the values that mean -1 and 1 in files of points


@dataclass(frozen=True, eq=False)
class Request:
    """A trained run and options that fit it, with the mask read and `--grid` parsed."""

    trained: Trained
    options: Options
    size: int | tuple[int, int] | None  # cells along the shorter side, or height and width; None: not given, or picture
    mask: Tensor | None  # (1, 1, H, W) bool
    span: tuple[float, float]

    @classmethod
    def of(cls, trained: Trained, options: Options) -> "Request":
        """Raises RecipeError for options that do not fit the run or each other, DataError for a mask that cannot be used."""
        size = parse_grid(options.grid) if options.grid else None
        mask = read_mask(options.mask) if options.mask else None
        if mask is not None and isinstance(size, tuple):
            raise RecipeError("--mask goes with the aspect that a picture has; give --grid N, or leave it out")
        if isinstance(trained.recipe.degradation, Nothing):
            raise RecipeError("this run learned what pictures look like and nothing of measurements; give another one")
        low, high = span = options.span or (-1.0, 1.0)
        if not low < high:
            raise RecipeError(f"--range {low:g} {high:g}: the first number must be the smaller one")
        if options.samples < 1:
            raise RecipeError("--samples: at least one is needed")
        return cls(trained, options, size, mask, span)

    @property
    def channels(self) -> int:
        return self.trained.model.channels

    @property
    def degradation(self) -> str:
        """Name of the recipe's degradation."""
        recipe = self.trained.recipe
        return recipe.registry.name_of(recipe.degradation) or "degradation"


def parse_grid(text: str) -> int | tuple[int, int] | None:
    """Cells along the shorter side, `N`, or height and width, `HxW`; None for `picture`.

    >>> parse_grid("48"), parse_grid("30x41"), parse_grid("picture")
    (48, (30, 41), None)
    """
    if text == "picture":
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise RecipeError(f"--grid {text}: want a number, height x width as in 48x64, or picture")
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])
