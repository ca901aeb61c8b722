"""Image inverse problems with operator-space diffusion: from a recipe to posterior samples and an honest table.

`run`, `evaluate` and `load` do what the command line does; `measure_points` turns scattered measurements into what a
loaded run can answer. Nothing here imports torch before it is used.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invkit.plugins.entry_points import version_of

if TYPE_CHECKING:
    from invkit.core.grid import Grid
    from invkit.experiment.callbacks import Listener
    from invkit.experiment.trained_model import Trained
    from invkit.physics.measurement import measure_points
    from invkit.plugins.registry import Registry
    from invkit.recipe.recipe import Recipe

__all__ = ["Grid", "__version__", "evaluate", "load", "measure_points", "run"]
__version__ = version_of("invkit") or "0+unknown"  # a source tree that was not installed


def run(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    smoke: bool = False,
    listener: "Listener | None" = None,
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Train, evaluate and report what a recipe says, as `invkit run`; returns the run's folder.

    `recipe` is a path, the name of an installed recipe or a loaded one, which takes no overrides. `plugins` are plugin
    files (`--plugin`), here and below.
    """
    from invkit.core.errors import RecipeError
    from invkit.experiment.run import run as start
    from invkit.recipe.recipe import Recipe, load_recipe

    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, _registry(plugins))
    elif overrides or plugins:
        raise RecipeError("a loaded recipe takes no overrides and plugins; give them to load_recipe")
    return start(recipe, Path(out) if out else None, device, fresh, smoke, listener)


def evaluate(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    from_saved: bool = False,
) -> dict[str, Any]:
    """The metric table of a run (schema `invkit.table/1`), as `invkit eval`."""
    from invkit.experiment.run import evaluate as start

    return start(Path(path), overrides, device, registry=_registry(plugins), from_saved=from_saved)


def load(path: str | Path, *, device: str = "auto", plugins: Sequence[str | Path] = ()) -> "Trained":
    """The trained model of a run, to be asked for means and samples."""
    from invkit.experiment.run import load as start

    return start(Path(path), device, _registry(plugins))


def _registry(plugins: Sequence[str | Path]) -> "Registry":
    from invkit.plugins.loader import registry

    return registry(tuple(map(str, plugins)))


def __getattr__(name: str) -> Any:
    homes = {"Grid": "invkit.core.grid", "measure_points": "invkit.physics.measurement"}
    if name in homes:
        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'invkit' has no attribute {name!r}")
