"""Example image of a degradation: embedded photographs, their measurements, and the pseudo-inverse of these."""

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
from invkit.recipe.resolve import resolve_one

GRID = Grid(64, 64)
PHOTOS = (0, 2)  # of the test split: one with fine details, one with large uniform areas


def save_preview(registry: Registry, name: str, overrides: Sequence[str], file: Path | None) -> Path:
    """Write the example image of a degradation as a PNG and return its path.

    Without `file` it is `NAME.png`, which replaces an existing file only if invkit wrote it. Raises RecipeError if a setting
    is wrong or missing or the degradation does not fit the grid, PluginError if the code of the plugin fails.
    """
    degradation: Degradation = resolve_one(registry, "degradation", name, overrides)
    path = file or Path(f"{name}.png")
    if file is None and path.exists() and not _is_preview(path):
        raise RecipeError(f"{path} exists and was not written by invkit; give another file with --picture FILE")
    x = Photos().open("test", GRID, 0)[PHOTOS]
    keys = Keys.of(0, "preview", PHOTOS)
    try:
        operator = degradation.sample(keys.child("operator"), GRID)
        sheet = operator_sheet(x, measure(operator, x, Noise(), keys))
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"{name} of {registry.origins['degradation', name]}: {type(error).__name__}: {error}"
        ) from error
    write_atomic(path, sheet)
    return path


def _is_preview(path: Path) -> bool:
    """Whether a file is a PNG written by invkit."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == "invkit"
    except OSError:
        return False
