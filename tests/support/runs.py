"""Recipes that run in about a second, a recording listener, and the weights of a run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from invkit.experiment.callbacks import Listener
from invkit.experiment.run import run
from invkit.recipe.recipe import load_recipe
from invkit.training.checkpoint import latest_checkpoint

RECIPE = """\
seed: 3
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1, 2], blocks: 1, modes: 3, embedding: 8, dropout: 0.1}
train: {steps: 6, batch: 4, warmup: 1, grids: [16], checkpoint_every: 2, sample_every: 3, precision: float32, determinism: strict}
sample: {steps: 2}
eval: {images: 5, samples: 3, batch: 2}
log: {every: 2, tensorboard: false}
"""


HEAD = "data: photos\ndegradation: sparse-random\n"


TINY = """\
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 3, batch: 2, grids: [16], precision: float32}
sample: {steps: 2}
eval: {images: 3, samples: 2}
log: {tensorboard: false}
"""


class Heard(Listener):
    """Records messages, steps and the progress of evaluations; calls `do` at step `at`."""

    def __init__(self, at: int | None = None, do: Callable[[], object] = lambda: None) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.done: list[tuple[int, int]] = []
        self.at, self.do = at, do

    def say(self, text):
        self.said.append(text)

    def trained(self, record):
        self.steps.append(record.step)
        if record.step == self.at:
            self.do()

    def evaluated(self, done, total):
        self.done.append((done, total))


def killed() -> None:
    raise KeyError("killed")  # nothing may catch this and tidy up


def go(recipe: Path, *overrides: str, listener: Listener | None = None, **options) -> Path:
    return run(load_recipe(recipe, overrides), recipe.parent / "run", "cpu", listener=listener, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(folder / "checkpoints")
    return {f"{part}/{k}": v for part, group in checkpoint.tensors.items() for k, v in group.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def shell(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "invkit", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
