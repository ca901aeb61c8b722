"""A small evaluation before the training, so that mistakes in methods and metrics do not surface after it."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from invkit.core.grid import Grid
from invkit.data.base import Chosen, Images
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.evaluator import evaluate_rows
from invkit.experiment.evaluate import Priors, build_all
from invkit.experiment.priors import check_priors
from invkit.experiment.session import Session, protocols
from invkit.reconstructors import METHODS, Sources
from invkit.reconstructors.zeroshot import Solver

FEW = {"images": 2, "batch": 2, "samples": 2, "save": 1, "save_samples": 1}


def rehearse(session: Session, priors: Priors, model: ConditionalModel, images: Mapping[Grid, Images]) -> None:
    """Build every method of the recipe and check its priors; apply those of plugins, and metrics of plugins, to two images.

    Raises RecipeError, DataError, PluginError or NonFiniteError as the evaluation would.
    """
    recipe, registry = session.recipe, session.recipe.registry

    def from_plugin(kind: str, name: str) -> bool:
        return not registry.origins[kind, name.partition("#")[0].partition("@")[0]].core

    def training(grid: Grid, limit: int) -> Images:
        return recipe.data.open("train", grid, recipe.seed, limit)

    grids = recipe.grids("test")
    sample = recipe.sample.model_copy(update={"steps": min(recipe.sample.steps, 2)})
    with torch.random.fork_rng(devices=[]):
        opened = training if recipe.train.clean else None
        sources = Sources(model.eval(), sample, recipe.data.law(), priors, opened, grids)
        methods, _ = build_all(recipe, sources)
        if any(isinstance(method, Solver) and method.prior.learned for method in recipe.eval.methods):
            check_priors(recipe, sources, recipe.open_images("test"))
        metrics = {name: metric for name, metric in recipe.metrics.items() if from_plugin("metric", name)}
        rows = [method for method in methods if from_plugin("method", method.name)]
        if metrics:
            rows.append(METHODS["untrained"]().build(sources))
        if not rows:
            return
        few = {grid: Chosen(source, range(min(2, len(source)))) for grid, source in images.items()}
        for protocol in protocols(recipe, session.folder.name, session.device):
            settings = protocol.settings.model_copy(update=FEW)
            evaluate_rows(rows, few, replace(protocol, settings=settings, metrics=metrics))
