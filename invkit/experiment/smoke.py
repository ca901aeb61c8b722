"""Smoke runs: a recipe shortened to seconds."""

from collections.abc import Callable

from invkit.data.photos import Photos
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot import Solver


def smoke_recipe(recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with few steps, images and samples; with the embedded photographs if its data are missing."""
    train, eval_ = recipe.train, recipe.eval
    batch = min(train.batch, 8)
    small = {
        "steps": min(train.total or 6, 6), "budget": None, "batch": batch, "warmup": min(train.warmup, 2),
        "accumulate": min(train.accumulate, 2) if batch % 2 == 0 else 1, "checkpoint_every": 3, "sample_every": 6,
        "evaluate_every": train.evaluate_every and 3, "evaluate_images": 4,
    }  # fmt: skip
    data = recipe.data
    if missing := data.missing():
        say(f"smoke run: {missing}; using the embedded photos instead")
        data = Photos()
    methods = tuple(
        method.model_copy(update={"calls": min(method.calls, 10)}) if isinstance(method, Solver) else method
        for method in eval_.methods
    )
    few = {"images": min(eval_.images, 8), "samples": min(eval_.samples, 3), "batch": 8, "methods": methods}
    changes = {
        "train": train.model_copy(update=small),
        "eval": eval_.model_copy(update=few),
        "sample": recipe.sample.model_copy(update={"steps": min(recipe.sample.steps, 3)}),
        "data": data,
    }
    return recipe.model_copy(update=changes)
