"""Inverse problems in imaging: posterior samples from conditional diffusion models, evaluated against baselines.

`run`, `evaluate` and `load` correspond to commands; `measure_points` makes a measurement from scattered observations, and
`write_images` a data set from a `torch.utils.data.Dataset`.
Importing `invkit` does not import torch.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invkit.plugins.entry_points import version_of

if TYPE_CHECKING:
    from invkit.core.grid import Grid
    from invkit.data.torch_images import write_images
    from invkit.experiment.callbacks import Listener
    from invkit.experiment.trained_model import Trained
    from invkit.physics.points import measure_points
    from invkit.plugins.registry import Registry
    from invkit.recipe.recipe import Recipe

__all__ = ["Grid", "__version__", "evaluate", "load", "measure_points", "run", "write_images"]
__version__ = version_of("invkit") or "0+unknown"  # a source tree that is not installed


def run(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    smoke: bool = False,
    seeds: int | None = None,
    listener: "Listener | None" = None,
    progress: bool | Callable[[int, int], object] = False,
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Train and evaluate a recipe and write the report, as `invkit run`; returns the run folder.

    `recipe` is a path, the name of an installed recipe, or a loaded recipe, which takes no overrides and plugins.
    `progress=True` prints what the command prints; a function is called with the training steps done and their total, then with
    those of the images evaluated. With `seeds`, the recipe is run with so many seeds, and the folder of these runs is returned. A
    `listener` hears of everything. `plugins` are plugin files, as with `--plugin`. Both are
    arguments of the functions below, too.
    """
    from invkit.core.errors import RecipeError
    from invkit.experiment.run import run as run_recipe
    from invkit.experiment.seeds import run_seeds
    from invkit.recipe.recipe import Recipe, load_recipe

    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, _registry(plugins))
    elif overrides or plugins:
        raise RecipeError("a loaded recipe takes no overrides or plugins; pass them to load_recipe")
    with _listening(progress, device) as reporting:
        chosen = (Path(out) if out else None, device, fresh, smoke, listener or reporting)
        return run_recipe(recipe, *chosen) if seeds is None else run_seeds(recipe, seeds, *chosen)


def evaluate(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    from_saved: bool = False,
    progress: bool | Callable[[int, int], object] = False,
) -> dict[str, Any]:
    """Return the metric table of a run (schema `invkit.table/1`), as `invkit eval`; computed if it is out of date."""
    from invkit.experiment.seeds import any_evaluation

    with _listening(progress, device) as listener:
        return any_evaluation(Path(path), overrides, device, listener, _registry(plugins), from_saved)[0]


def load(path: str | Path, *, device: str = "auto", plugins: Sequence[str | Path] = ()) -> "Trained":
    """Load the trained model of a run, which computes posterior means and samples."""
    from invkit.experiment.run import load as load_run

    return load_run(Path(path), device, _registry(plugins))


def _listening(progress: bool | Callable[[int, int], object], device: str) -> "AbstractContextManager[Listener | None]":
    if progress is False:
        return nullcontext()
    from invkit.experiment.callbacks import ProgressListener

    if callable(progress):
        return nullcontext(ProgressListener(progress))
    from invkit.cli.progress import console_progress

    return console_progress(device)


def _registry(plugins: Sequence[str | Path]) -> "Registry":
    from invkit.plugins.loader import registry

    return registry(tuple(map(str, plugins)))


def __getattr__(name: str) -> Any:
    modules = {
        "Grid": "invkit.core.grid", "measure_points": "invkit.physics.points", "write_images": "invkit.data.torch_images",
    }  # fmt: skip
    if name in modules:
        return getattr(import_module(modules[name]), name)
    raise AttributeError(f"module 'invkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
