"""Evaluation during training, on held-out images of the training split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from invkit.core.distributed import World
from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Chosen, Images
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.metrics.calibration import fair_crps
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.settings import Eval
from invkit.physics.noise import white_sigma
from invkit.reconstructors.model import Model
from invkit.training.incomplete import hold, measurement_of
from invkit.training.problem import Problem
from invkit.training.settings import Train

SHARE = 0.1  # of the groups, held out at least


@dataclass(frozen=True)
class HeldOut:
    """The images of a training without some groups, and images of these groups; by grid."""

    train: dict[Grid, Images]
    held_out: dict[Grid, Images]
    note: str | None = None  # numbers of images and groups, for the user


def held_out(images: Mapping[Grid, Images], settings: Train, seed: int) -> HeldOut:
    """Hold out whole groups, such as photographs, chosen by key, if the recipe evaluates during training.

    As many groups as have `evaluate_images` images, at least a share `SHARE` and at most half of all. Raises DataError if these
    are too few.
    """
    if settings.evaluate_every is None:
        return HeldOut(dict(images), {})
    count = settings.evaluate_images
    names = {grid: np.array([opened.group(i) for i in range(len(opened))]) for grid, opened in images.items()}
    groups, sizes = np.unique(next(iter(names.values())), return_counts=True)
    order = Keys.of(seed, "held out", [0]).permutation("groups", len(groups))[0].numpy()
    enough = int(np.searchsorted(sizes[order].cumsum(), count)) + 1
    chosen = groups[order[: max(enough, math.ceil(SHARE * len(groups)))]]
    if 2 * len(chosen) > len(groups):
        raise DataError(
            f"train.evaluate_images: {count} images cannot be held out of {sizes.sum()} training images in {len(groups)} groups "
            "(photographs), of which at least half have to be trained on; lower it, or leave train.evaluate_every out"
        )
    aside = {grid: np.isin(own, chosen) for grid, own in names.items()}
    note = (
        f"held out of the training: {count} images, with all others of the same {len(chosen)} of {len(groups)} groups"
    )
    return HeldOut(
        {grid: Chosen(opened, np.flatnonzero(~aside[grid])) for grid, opened in images.items()},
        {grid: Chosen(opened, np.flatnonzero(aside[grid])[:count]) for grid, opened in images.items()},
        note,
    )


def validate(
    model: ConditionalModel, problem: Problem, sample: Sample, protocol: Protocol, world: World
) -> dict[str, Any]:
    """The metric table of a model on all images of `problem`; masks, noise and sampling noise are the same at every step."""
    settings = protocol.settings.model_copy(update={"images": min(map(len, problem.images.values()))})
    return evaluate_rows(
        [Model("model", model, sample)], problem.images, replace(protocol, settings=settings), world=world
    ).table


def validate_measured(model: ConditionalModel, problem: Problem, sample: Sample, settings: Eval) -> dict[str, Any]:
    """As `validate`, where only some pixels of the images are measured: the CRPS of the values of the query pixels.

    The model is shown the others. With noise, the same noise is added to the samples, since the values have it.
    """
    (images,), (low, high) = problem.images.values(), problem.held or (0.5, 0.5)
    sigma = white_sigma(problem.noise, "train.clean: false")
    device, total, count = next(model.parameters()).device, 0.0, 0.0
    batch = 16 if settings.batch == "auto" else settings.batch
    for first in range(0, len(images), batch):
        ids = range(first, min(first + batch, len(images)))
        keys = Keys.of(problem.seed, "validation", ids, device)
        measured = measurement_of(images[ids].to(device), sigma)
        shown, where = hold(measured, keys.child("held"), (low, high))
        draws = model.sample(shown, keys.child("samples"), max(2, settings.samples), sample)
        for k in range(len(draws) if sigma else 0):
            draws[k] += sigma * keys.normal(f"noise/{k}", *images.grid.picture)
        total += float((fair_crps(draws.sort(0).values, measured.y) / 2 * where).sum())
        count += float(where.sum()) * images.grid.channels
    return {"rows": [{"readout": "sample", "metrics": {"crps": {"value": total / count if count else None}}}]}


def crps(table: Mapping[str, Any]) -> float | None:
    """Mean CRPS over the sample rows of a table; None if it is missing."""
    values = [row["metrics"].get("crps", {}).get("value") for row in table["rows"] if row["readout"] == "sample"]
    return sum(values) / len(values) if values and None not in values else None
