"""Trained priors of the zero-shot methods in a recipe."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.diffusion.model import ConditionalModel
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot import CLOSED_FORM, FieldPrior, Solver, TrainedPrior

CHECKED = 32  # images on which a trained prior is compared with the linear one
LEVELS = 12  # of the noise levels of a solver
TOLERATED = 1.01  # ratio of squared errors


def load_priors(recipe: Recipe, load: Callable[[Path], Trained]) -> dict[str, ConditionalModel]:
    """The priors of all zero-shot methods, by run; each is loaded once.

    Raises DataError if a folder has no trained run, RecipeError if that run is not a prior or has other channels.
    """
    models: dict[str, ConditionalModel] = {}
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or method.prior in models or method.prior in CLOSED_FORM:
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
        split = trained.folder.recorded_split() if trained.folder else None
        if split and not recipe.data.missing() and (seen := recipe.data.test_images_in(split, recipe.seed)):
            warnings.warn(
                f"{key}: {method.prior} was trained on {seen} of the test images; train a prior with the same data and seed",
                stacklevel=2,
            )
        models[method.prior] = trained.model
    return models


def check_priors(recipe: Recipe, models: Mapping[str, ConditionalModel], images: Mapping[Grid, Images]) -> None:
    """Compare each trained prior with the linear denoiser of its own fitted field, at the noise levels of the solvers.

    Raises DataError if its squared error on test images is more than 1 % larger at one of them: the rows of the solvers would
    then show how little the prior was trained, not how good the solvers are.
    """
    grid, source = next(iter(images.items()))
    x: Tensor | None = None
    for method in recipe.eval.methods:
        if not isinstance(method, Solver) or method.prior not in models or not method.check_prior:
            continue
        model = models[method.prior]
        if x is None:
            x = source[range(min(CHECKED, len(source)))].to(model.token.device)
        levels = method.levels.of(method.steps)[:-1]
        few = levels[:: max(1, len(levels) // LEVELS)].tolist()
        ratio, level = max(zip(error_ratios(model, x, few, recipe.seed), few, strict=True))
        if ratio > TOLERATED:
            raise DataError(
                f"eval.methods: {method.title}.prior: at noise level {level:.3g} of {method.title} the denoiser of {method.prior} "
                f"has {ratio:.2f} times the squared error of the linear denoiser of the same training images, on {len(x)} test "
                f"images of {grid}; train it longer, or with diffusion.preconditioning=linear; check_prior: false uses it"
            )


@torch.no_grad()
def error_ratios(
    model: ConditionalModel,
    x: Tensor,  # (B, C, H, W)
    levels: Sequence[float],
    seed: int = 0,
) -> list[float]:
    """At each noise level, the squared error of a prior's denoiser over that of the linear denoiser of its fitted field."""
    trained, grid = TrainedPrior(model), Grid(x.shape[2], x.shape[3], x.shape[1])
    linear = FieldPrior(model.prior, model.diffusion.field, trained.std(grid))
    found = []
    for i, level in enumerate(levels):
        noisy = x + level * trained.noise(Keys.of(seed, f"prior/{i}", range(len(x)), x.device), grid, "noise")
        own, other = (float((prior.denoise(noisy, level) - x).square().mean()) for prior in (trained, linear))
        found.append(own / other)
    return found
