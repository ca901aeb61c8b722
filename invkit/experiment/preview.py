"""A degradation at work: embedded photographs, what is measured of them, and what the pseudo-inverse makes of that."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from invkit.core.errors import PluginError, RecipeError
from invkit.core.files import write_atomic
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.photos import Photos
from invkit.evaluation.report.images import operator_sheet
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Noise, measure
from invkit.plugins.registry import Registry
from invkit.recipe.overrides import COMMAND_LINE, override
from invkit.recipe.resolve import resolve
from invkit.recipe.yaml_reader import Tree

GRID = Grid(64, 64)
PHOTOS = (0, 2)  # of the test split: one of many details, one of large areas


def save_preview(found: Registry, name: str, overrides: Sequence[str], file: Path | None) -> Path:
    """Write a PNG of a degradation at work and return its path; as given, `NAME.png` replaces only its like.

    Raises RecipeError where a setting is wrong or missing or the degradation does not fit the grid, PluginError where
    its code fails.
    """
    cls: type[Degradation] = found.get("degradation", name)
    degradation = resolve(cls, override(Tree({}, {(): COMMAND_LINE + name}), overrides), found, Path())
    path = file or Path(f"{name}.png")
    if file is None and path.exists() and not _ours(path):
        raise RecipeError(f"{path} is somebody's own; name another file with --picture FILE")
    x = Photos().open("test", GRID, 0)[PHOTOS]
    keys = Keys.of(0, "preview", PHOTOS)
    try:
        operator = degradation.sample(keys.child("operator"), GRID)
        sheet = operator_sheet(x, measure(operator, x, Noise(), keys))
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None
    except Exception as error:
        raise PluginError(f"{name} of {found.origins['degradation', name]}: {type(error).__name__}: {error}") from error
    write_atomic(path, sheet)
    return path


def _ours(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == "invkit"
    except OSError:
        return False
