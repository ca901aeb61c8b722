"""Smoke runs: a recipe shortened to seconds."""

from collections.abc import Callable

from invkit.core.errors import DataError, RecipeError
from invkit.data.photos import Photos
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot import Solver

SIDE = 32  # cells along the shorter side of the grids of a smoke run, at least


def smoke_recipe(recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with few steps, images and samples, on small grids; with the embedded photographs if its data are missing."""
    train, eval_ = recipe.train, recipe.eval
    batch = min(train.batch, 8)
    small = {
        "steps": min(train.total or 6, 6), "budget": None, "batch": batch, "warmup": min(train.warmup, 2),
        "accumulate": min(train.accumulate, 2) if batch % 2 == 0 else 1, "checkpoint_every": 3, "keep": 1, "sample_every": 6,
        "evaluate_every": train.evaluate_every and 3, "evaluate_images": 4,
    }  # fmt: skip
    data = recipe.data
    if missing := data.missing():
        say(f"smoke run: {missing}; using the embedded photos instead")
        data = Photos()
    methods = tuple(
        method.model_copy(update={"calls": max(method.cost, min(method.calls, 10))})
        if isinstance(method, Solver)
        else method
        for method in eval_.methods
    )
    few = {"images": min(eval_.images, 8), "samples": min(eval_.samples, 3), "batch": 8, "methods": methods}
    changes = {
        "train": train.model_copy(update=small),
        "eval": eval_.model_copy(update=few),
        "sample": recipe.sample.model_copy(update={"steps": min(recipe.sample.steps, 3)}),
        "data": data,
    }
    return _on_small_grids(recipe.model_copy(update=changes), say)


def _on_small_grids(recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with grids of about `SIDE` cells, unless its degradation or its data do not fit them."""
    grids, own = recipe.train.grids, recipe.eval.grids
    small, few = (tuple(dict.fromkeys(map(_smaller, sizes or ()))) for sizes in (grids, own))
    if (small, few) == (grids, own or ()):
        return recipe
    changed = recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update={"grids": small}),
            "eval": recipe.eval.model_copy(update={"grids": few or None}),
        }
    )
    try:
        changed.check_operators()
        changed.check_data()
    except (RecipeError, DataError) as error:
        say(f"smoke run: train.grids={list(grids)} as in the recipe, since smaller ones do not fit ({error})")
        return recipe
    say(f"smoke run: train.grids={list(small)} instead of {list(grids)}")
    return changed


def _smaller(size: int | tuple[int, int]) -> int | tuple[int, int]:
    """A grid divided by the integer that leaves at least `SIDE` cells along its shorter side.

    >>> _smaller(512), _smaller((300, 200)), _smaller(48)
    (32, (50, 33), 48)
    """
    factor = max(1, (size if isinstance(size, int) else min(size)) // SIDE)
    return size // factor if isinstance(size, int) else (size[0] // factor, size[1] // factor)
