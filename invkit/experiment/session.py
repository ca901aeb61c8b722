"""State shared by the training and the evaluation of a run."""

from dataclasses import dataclass

import torch

from invkit.core.distributed import World
from invkit.core.signals import Stop
from invkit.evaluation.protocol import Protocol
from invkit.experiment.callbacks import Listener
from invkit.experiment.run_folder import RunFolder
from invkit.recipe.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Session:
    """A recipe and its run folder, the listener, the stop request, and the processes and device of the computation."""

    recipe: Recipe
    folder: RunFolder
    listener: Listener
    stop: Stop
    world: World
    device: torch.device


def protocols(recipe: Recipe, run: str, device: torch.device) -> list[Protocol]:
    """The evaluation protocol of each degradation in the table of a recipe; equal names are numbered."""
    rows = recipe.degradation.table_rows()
    names = [recipe.registry.name_of(named) or "" for named, _ in rows]
    unique = [f"{name}#{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    law = recipe.data.law()
    return [
        Protocol(run, name, degradation, recipe.noise, recipe.eval, recipe.metrics, recipe.seed, device, law)
        for name, (_, degradation) in zip(unique, rows, strict=True)
    ]
