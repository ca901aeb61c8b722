"""The trained priors that zero-shot rows of a recipe name."""

from collections.abc import Callable
from pathlib import Path

from invkit.core.errors import DataError, RecipeError
from invkit.diffusion.model import ConditionalModel
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot import Solver


def priors(recipe: Recipe, load: Callable[[Path], Trained]) -> dict[str, ConditionalModel]:
    """The models behind the zero-shot rows, by their run folders, each loaded once.

    Raises DataError where a folder has no trained run, RecipeError where that run is no prior of such pictures.
    """
    found: dict[str, ConditionalModel] = {}
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or method.prior in found:
            continue
        row = f"eval.methods: {method.title}.prior"
        try:
            trained = load(Path(method.prior))
        except DataError as error:
            raise DataError(f"{row}: {error}") from None
        if not isinstance(trained.recipe.degradation, Nothing):
            name = trained.recipe.registry.name_of(trained.recipe.degradation)
            raise RecipeError(
                f"{row}: {method.prior} was trained on {name!r}; a prior is trained on the degradation 'nothing', as the "
                "recipe photos_prior does"
            )
        if trained.model.channels != recipe.data.channels:
            raise RecipeError(
                f"{row}: {method.prior} knows pictures of {trained.model.channels} channels, the recipe's have "
                f"{recipe.data.channels}"
            )
        found[method.prior] = trained.model
    return found
