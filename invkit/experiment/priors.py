"""Trained priors of the zero-shot methods in a recipe."""

import warnings
from collections.abc import Callable
from pathlib import Path

from invkit.core.errors import DataError, RecipeError
from invkit.diffusion.model import ConditionalModel
from invkit.experiment.run_folder import RunFolder
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot import Solver


def load_priors(recipe: Recipe, load: Callable[[Path], Trained]) -> dict[str, ConditionalModel]:
    """The priors of all zero-shot methods, by run folder; each is loaded once.

    Raises DataError if a folder has no trained run, RecipeError if that run is not a prior or has other channels.
    """
    models: dict[str, ConditionalModel] = {}
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or method.prior in models:
            continue
        key = f"eval.methods: {method.title}.prior"
        try:
            trained = load(Path(method.prior))
        except DataError as error:
            raise DataError(f"{key}: {error}") from None
        if not isinstance(trained.recipe.degradation, Nothing):
            name = trained.recipe.registry.name_of(trained.recipe.degradation)
            raise RecipeError(
                f"{key}: {method.prior} was trained on {name!r}; a prior is trained on the degradation 'nothing', as the "
                "recipe photos_prior does"
            )
        if trained.model.channels != recipe.data.channels:
            raise RecipeError(
                f"{key}: {method.prior} is a prior of images with {trained.model.channels} channels, and the recipe's have "
                f"{recipe.data.channels}"
            )
        split = RunFolder(Path(method.prior)).recorded_split()
        if split and not recipe.data.missing() and (seen := recipe.data.test_images_in(split, recipe.seed)):
            warnings.warn(
                f"{key}: {method.prior} was trained on {seen} of the test images; train a prior with the same data and seed",
                stacklevel=2,
            )
        models[method.prior] = trained.model
    return models
