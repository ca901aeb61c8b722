"""A small evaluation while a model trains, on pictures of the training split that are held out for it."""

from collections.abc import Mapping
from typing import Any

import torch

from invkit.core.distributed import World
from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.base import Images, Part
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.metrics import Metric
from invkit.evaluation.settings import Eval
from invkit.reconstructors.model import Model
from invkit.training.problem import Problem
from invkit.training.settings import Train


def held_out(images: Mapping[Grid, Images], settings: Train) -> tuple[dict[Grid, Images], dict[Grid, Images]]:
    """What is trained on, and the last pictures of the split, which are not where the recipe evaluates on the way."""
    if settings.evaluate_every is None:
        return dict(images), {}
    count, total = settings.evaluate_images, min(map(len, images.values()))
    if count >= total:
        raise DataError(f"train.evaluate_images: {count} pictures cannot be held out of {total}")
    train = {grid: Part(opened, 0, len(opened) - count) for grid, opened in images.items()}
    return dict(train), {grid: Part(opened, len(opened) - count, count) for grid, opened in images.items()}


def validate(
    model: ConditionalModel, problem: Problem, sample: Sample, settings: Eval, metrics: Mapping[str, Metric],
    device: torch.device, world: World,
) -> dict[str, Any]:  # fmt: skip
    """The table of a model's rows on all pictures of a problem; masks, noise and samples are the same at every step."""
    every = settings.model_copy(update={"images": min(map(len, problem.images.values()))})
    return evaluate_rows(
        [Model("model", model, sample)], problem.images, problem.degradation, problem.noise, every,
        seed=problem.seed, device=device, run="validation", degradation_name="", metrics=metrics, world=world,
    ).table  # fmt: skip


def crps(table: Mapping[str, Any]) -> float | None:
    """Mean CRPS over the grids of a table, None where it has none."""
    found = [row["metrics"].get("crps", {}).get("value") for row in table["rows"] if row["readout"] == "sample"]
    return sum(found) / len(found) if found and None not in found else None
