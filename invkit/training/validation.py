"""Evaluation during training, on held-out images of the training split."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from invkit.core.distributed import World
from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.base import Images, Part
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.protocol import Protocol
from invkit.reconstructors.model import Model
from invkit.training.problem import Problem
from invkit.training.settings import Train


def held_out(images: Mapping[Grid, Images], settings: Train) -> tuple[dict[Grid, Images], dict[Grid, Images]]:
    """Training images and held-out images; the latter are the last of the split, if the recipe evaluates during training."""
    if settings.evaluate_every is None:
        return dict(images), {}
    count, total = settings.evaluate_images, min(map(len, images.values()))
    if count >= total:
        raise DataError(f"train.evaluate_images: {count} images cannot be held out of {total}")
    train = {grid: Part(opened, 0, len(opened) - count) for grid, opened in images.items()}
    return dict(train), {grid: Part(opened, len(opened) - count, count) for grid, opened in images.items()}


def validate(
    model: ConditionalModel, problem: Problem, sample: Sample, protocol: Protocol, world: World
) -> dict[str, Any]:
    """The metric table of a model on all images of `problem`; masks, noise and sampling noise are the same at every step."""
    settings = protocol.settings.model_copy(update={"images": min(map(len, problem.images.values()))})
    return evaluate_rows(
        [Model("model", model, sample)], problem.images, replace(protocol, settings=settings), world=world
    ).table


def crps(table: Mapping[str, Any]) -> float | None:
    """Mean CRPS over the sample rows of a table; None if it is missing."""
    values = [row["metrics"].get("crps", {}).get("value") for row in table["rows"] if row["readout"] == "sample"]
    return sum(values) / len(values) if values and None not in values else None
