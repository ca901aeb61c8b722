"""Priors of the zero-shot methods in a recipe."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from invkit.core.errors import DataError, RecipeError, Unavailable, blamed
from invkit.core.grid import Grid
from invkit.data.base import Images
from invkit.diffusion.model import ConditionalModel
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.recipe.recipe import Recipe
from invkit.reconstructors import Sources
from invkit.reconstructors.zeroshot import ImagePrior, Solver
from invkit.reconstructors.zeroshot.denoising import WORSE, denoised, error_ratios, faults, linear_denoiser
from invkit.reconstructors.zeroshot.priors import Model

CHECKED = 32  # images on which a prior is checked
LEVELS = 12  # of the noise levels of a solver


def load_priors(recipe: Recipe, load: Callable[[Path], Trained]) -> dict[str, ConditionalModel]:
    """The priors of all zero-shot methods, by run; each is loaded once.

    Raises DataError if a folder has no trained run, RecipeError if that run is not a prior or has other channels.
    """
    models: dict[str, ConditionalModel] = {}
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or not isinstance(method.prior, Model) or method.prior.source in models:
            continue
        key, source = f"eval.methods: {method.title}.prior", method.prior.source
        try:
            trained = load(Path(source))
        except DataError as error:
            raise DataError(f"{key}: {error}") from None
        if not isinstance(trained.recipe.degradation, Nothing):
            name = trained.recipe.registry.name_of(trained.recipe.degradation)
            raise RecipeError(
                f"{key}: {source} was trained on {name!r}; a prior is trained on the degradation 'nothing', as the "
                "recipe photos_prior does"
            )
        if trained.model.channels != recipe.data.channels:
            raise RecipeError(
                f"{key}: {source} is a prior of images with {trained.model.channels} channels, and the recipe's have "
                f"{recipe.data.channels}"
            )
        split = trained.folder.recorded_split() if trained.folder else None
        if split and not recipe.data.missing() and (seen := recipe.data.test_images_in(split, recipe.seed)):
            warnings.warn(
                f"{key}: {source} was trained on {seen} of the test images; train a prior with the same data and seed",
                stacklevel=2,
            )
        models[source] = trained.model
    return models


def check_priors(recipe: Recipe, sources: Sources, images: Mapping[Grid, Images]) -> None:
    """Check how each learned prior denoises test images, at the noise levels of the solvers.

    Raises DataError if its squared error is more than 1 % larger than that of the linear denoiser of images with the same
    covariance, or falls where the noise rises, or if it is biased: the rows of the solvers would then show what is wrong with the
    prior, not how good the solvers are.
    """
    (grid, source), device = next(iter(images.items())), sources.model.token.device
    ids = range(min(CHECKED, len(source)))
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or not method.prior.learned or not method.check_prior:
            continue
        name = recipe.registry.registered_name("prior", method.prior)
        shown = method.prior.source if isinstance(method.prior, Model) else f"prior `{name}`"
        key, levels = f"eval.methods: {method.title}.prior", method.levels.of(method.steps)[:-1]
        few, x = levels[:: max(1, len(levels) // LEVELS)].tolist(), source[ids].to(device)
        with blamed(f"the prior {name!r}", method.prior):
            prior = method.built_prior(sources)
            try:
                found = denoised(prior, x, few, [source.group(i) for i in ids], recipe.seed)
            except Unavailable:  # stated in the table
                continue
        about = f"on {len(x)} test images of {grid}; "
        if linear := linear_denoiser(prior, grid):
            ratio, level = max(zip(error_ratios(prior, linear, x, few, recipe.seed), few, strict=True))
            if ratio > WORSE:
                raise DataError(
                    f"{key}: at noise level {level:.3g} of {method.title} the denoiser of {shown} has {ratio:.2f} times the "
                    f"squared error of the linear denoiser of the same training images, {about}{_advice(method.prior)}"
                )
        for fault in faults(found):
            raise DataError(f"{key}: {shown}: {fault}, {about}{_advice(method.prior)}")


def _advice(prior: ImagePrior) -> str:
    own = (
        "train it longer, or with diffusion.preconditioning=linear" if isinstance(prior, Model) else "see its settings"
    )
    return f"{own}; check_prior: false uses it"
