"""The training of a run: from its last checkpoint, or the start, to a trained model."""

import json
import math
from dataclasses import replace
from typing import Any

import torch

from invkit.core.device import place
from invkit.core.distributed import World
from invkit.core.errors import Interrupted, NonFiniteError
from invkit.core.files import write_atomic
from invkit.core.grid import as_grid
from invkit.core.keys import Keys
from invkit.core.signals import Stop
from invkit.data.base import Images
from invkit.evaluation.report.images import sample_sheet
from invkit.experiment.callbacks import Listener
from invkit.experiment.logger import Logbook
from invkit.experiment.run_folder import RunFolder
from invkit.experiment.trained_model import Trained, evaluated, put, rebuild
from invkit.recipe.recipe import Recipe
from invkit.training.checkpoint import Checkpoint, check_fit, latest_checkpoint, save_checkpoint
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.trainer import Trainer
from invkit.training.validation import crps, held_out, validate

SHEET = 8  # pictures on a sample grid


def train(
    recipe: Recipe, folder: RunFolder, device: torch.device, listener: Listener, stop: Stop, world: World
) -> Trained:
    """Train what is not trained yet.

    Raises Interrupted where somebody asked to stop, and NonFiniteError, both with the state saved.
    """
    checkpoint, settings = latest_checkpoint(folder.checkpoints), recipe.train
    step = checkpoint.step if checkpoint else 0
    world.agree(step, f"the last checkpoint in {folder.path}, as a shared disk shows it,")
    if checkpoint is not None and _finished(recipe, checkpoint):
        listener.say(f"training is done: {checkpoint.step} steps in {folder.path}")
        trained = evaluated(recipe, folder, device)
        assert trained is not None
        if world.first and not folder.sheet(trained.step).exists():  # a stop came between the two
            _sheet(trained, folder)
        return trained
    images, aside = held_out(recipe.open_images("train", listener.say), settings)
    problem = Problem(images, recipe.degradation, recipe.noise, recipe.seed)
    if checkpoint is None:
        seen = settings.total and settings.total * settings.batch
        model = build_model(problem, recipe.model, recipe.diffusion, settings.precision, device, seen)
    else:
        model = place(rebuild(recipe, checkpoint), device)
    world.broadcast_(model.parameters())  # drawn alike already, unless the machines differ
    trainer = Trainer(problem, model, settings, device, world)
    if checkpoint is not None:
        for part in ("weights", "average"):
            check_fit(dict(model.named_parameters()), checkpoint.tensors.get(part, {}))
        trainer.restore(checkpoint.step, checkpoint.tensors, checkpoint.meta.get("seconds", 0.0))
        listener.say(f"going on from step {checkpoint.step} in {folder.path}")
    parameters = sum(p.numel() for p in model.parameters())
    if world.first:
        folder.keep_metrics(trainer.step)
        folder.update_record({"parameters": parameters, "residual_scale": model.constants.unit.scale})
    length = f"for {settings.budget}" if settings.total is None else f"{settings.total - trainer.step} steps"
    listener.say(
        f"training {parameters / 1e6:.2f} M parameters on {device}: {length} of {settings.batch} pictures"
        + f", on {world.size} processes" * (world.size > 1)
    )
    shadow = rebuild(recipe, Checkpoint(0, {"constants": model.constants.tensors()}, {})).to(device).eval()
    logbook = Logbook(folder, recipe.log, trainer.step) if world.first else None
    shown = recipe.data.open("test", problem.grids[0], recipe.seed, min(SHEET, recipe.eval.images))
    saved, score = trainer.step, None

    def averaged() -> Trained:
        put(shadow, trainer.average)
        return Trained(recipe, shadow, device, trainer.step)

    def save() -> int:
        tensors = {**trainer.state(), "constants": model.constants.tensors()}
        meta = {"seed": recipe.seed, "seconds": trainer.seconds}
        if world.first:
            save_checkpoint(folder.checkpoints, trainer.step, tensors, meta, keep=settings.keep, score=score)
        return trainer.step

    def sheet() -> None:
        if logbook:
            logbook.sheet(_sheet(averaged(), folder, shown), trainer.step)

    if checkpoint and trainer.step % settings.sample_every == 0 and not folder.sheet(trainer.step).exists():
        sheet()
    try:
        with stop.hold():
            for record in trainer.run():
                listener.trained(record)
                last, score = trainer.done, None
                if logbook:
                    logbook.step(record, last=last, skipped=trainer.skipped)
                if aside and (last or record.step % (settings.evaluate_every or 1) == 0):
                    with stop.release():
                        own = replace(problem, images=aside)
                        table = validate(
                            averaged().model, own, recipe.sample, recipe.eval, recipe.metrics, device, world
                        )
                        if logbook:
                            logbook.validation(table, record.step)
                        score = crps(table)
                if last or score is not None or record.step % settings.checkpoint_every == 0:
                    saved = save()
                if last or record.step % settings.sample_every == 0:
                    with stop.release():
                        sheet()
                if world.any(stop()) and not last:
                    save()
                    world.barrier()  # none ends before it is saved: the end of one ends the others
                    said = f"stopped at step {trainer.step}, saved; the same command goes on from there"
                    raise Interrupted(said if world.first else "")
    except NonFiniteError as error:
        if trainer.step > saved:
            save()
        told = folder.path / "nonfinite.json"
        if world.first:
            write_atomic(told, json.dumps(_readable(error.cause), indent=1, allow_nan=False) + "\n")
        raise NonFiniteError(f"{error}. What is known of it is in {told}", error.cause) from None
    if logbook:
        logbook.close()
    world.barrier()  # until it is saved
    trained = evaluated(recipe, folder, device)
    assert trained is not None
    return trained


def _finished(recipe: Recipe, checkpoint: Checkpoint) -> bool:
    if recipe.train.total is not None:
        return checkpoint.step >= recipe.train.total
    return checkpoint.meta.get("seconds", 0.0) >= (recipe.train.seconds or 0)


def _readable(value: Any) -> Any:
    """With words for the numbers that JSON has no signs for."""
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _sheet(trained: Trained, folder: RunFolder, images: Images | None = None) -> bytes:
    """Write the labelled sample grid of a step, from test pictures that are the same at every step."""
    recipe = trained.recipe
    grid = as_grid(recipe.train.grids[0], recipe.data.channels)
    if images is None:
        images = recipe.data.open("test", grid, recipe.seed, min(SHEET, recipe.eval.images))
    problem = Problem({grid: images}, recipe.degradation, recipe.noise, recipe.seed)
    ids, count = list(range(min(SHEET, len(images)))), recipe.eval.samples
    x = images[ids].to(trained.device)
    keys = Keys.of(recipe.seed, "sheet", ids, trained.device)
    measurement = problem.measure(x, keys, grid)
    estimate = trained.model.initial_estimate(measurement)
    mean = trained.model.mean(measurement, estimate)
    shown = min(8, max(2, count))
    samples = trained.model.sample(measurement, keys.child("samples"), shown, recipe.sample, estimate=estimate)
    picture = sample_sheet(x, measurement, estimate.mean, mean, samples)
    write_atomic(folder.sheet(trained.step), picture)
    return picture
