"""Training of a run, from the start or from its last checkpoint."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from invkit.core.device import place
from invkit.core.errors import DataError, Interrupted, NonFiniteError
from invkit.core.files import write_atomic, write_json
from invkit.core.grid import Grid, as_grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.report.images import sample_sheet
from invkit.experiment.initial_weights import find_weights
from invkit.experiment.logger import RunLogger
from invkit.experiment.provenance import plugin_code
from invkit.experiment.run_folder import RunFolder, warn_of_changed_code
from invkit.experiment.session import Session
from invkit.experiment.trained_model import Trained, finished, load_trained, load_weights, rebuild
from invkit.recipe.recipe import Recipe
from invkit.training.checkpoint import Checkpoint, check_fit, latest_checkpoint, save_checkpoint
from invkit.training.incomplete import MeasuredImages
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.trainer import StepRecord, Trainer
from invkit.training.validation import crps, held_out, validate, validate_measured

SHEET = 8  # images on a sample grid


def train(session: Session, prepare: Callable[[ConditionalModel, dict[Grid, Images]], None]) -> Trained:
    """Train a run, or resume it; a finished run is only loaded. `prepare` is called with model and images before the first step.

    Raises Interrupted if a stop was requested, and NonFiniteError, both with the state saved.
    """
    recipe, folder = session.recipe, session.folder
    checkpoint = latest_checkpoint(folder.checkpoints)
    step = checkpoint.step if checkpoint else 0
    if checkpoint is None and session.world.first:
        folder.update_record({"trained_with": plugin_code(recipe)})
    warn_of_changed_code(folder, recipe)
    session.world.agree(step, f"the last checkpoint in {folder.path}, as a shared disk shows it,")
    if checkpoint is not None and finished(recipe, checkpoint):
        session.listener.say(f"training is done: {checkpoint.step} steps in {folder.path}")
        trained = _trained(session)
        if (
            session.world.first and not folder.sheet(trained.step).exists()
        ):  # the run was stopped after the last checkpoint
            _sheet(trained, folder)
        return trained
    if checkpoint is not None and (changed := recipe.data.changed()):
        raise DataError(changed)
    opened = recipe.open_images("train", session.listener.say)
    if session.world.first:
        folder.update_record({"split": next(iter(opened.values())).split_used})
    whole = training_problem(recipe, opened)
    parts = held_out(whole.images, recipe.train, recipe.seed)
    if parts.note:
        session.listener.say(parts.note)
    trainer = _trainer(session, replace(whole, images=parts.train), checkpoint)
    images = parts.train
    if not recipe.train.clean:  # methods and metrics are tried on images without gaps
        images = {grid: recipe.data.open("test", grid, recipe.seed, 2) for grid in images}
    prepare(trainer.model, images)
    _TrainingLoop(session, trainer, parts.held_out).run(resumed=checkpoint is not None)
    session.world.barrier()  # until the first process has saved the checkpoint
    return _trained(session)


def training_problem(recipe: Recipe, images: Mapping[Grid, Images]) -> Problem:
    """The training problem of a recipe with the images of its training split: measured pixels only, unless they are clean."""
    degradation, noise, seed = recipe.degradation, recipe.noise, recipe.training_seed
    if recipe.train.clean:
        return Problem(images, degradation, noise, seed)
    measured = {grid: MeasuredImages(opened, degradation, noise, recipe.seed) for grid, opened in images.items()}
    return Problem(measured, degradation, noise, seed, recipe.train.held_shares)


def _trained(session: Session) -> Trained:
    trained = load_trained(session.recipe, session.folder, session.device)
    assert trained is not None
    return trained


def _trainer(session: Session, problem: Problem, checkpoint: Checkpoint | None) -> Trainer:
    """A trainer in its initial state or that of a checkpoint; reports the size of the training."""
    recipe, folder, world, settings = session.recipe, session.folder, session.world, session.recipe.train
    if checkpoint is None:
        total_images = settings.total and settings.total * settings.batch
        source = find_weights(settings.init) if settings.init else None  # before the fit, which takes longer
        model = build_model(problem, recipe.model, recipe.diffusion, settings.precision, session.device, total_images)
        if source is not None:
            facts = source.give(model, session.listener.say)
            if world.first:
                folder.update_record({"initialised": facts})
    else:
        model = place(rebuild(recipe, checkpoint), session.device)
    world.broadcast_(model.parameters())  # equal already, unless the machines differ
    trainer = Trainer(problem, model, settings, session.device, world, session.stop.release)
    if checkpoint is not None:
        for part in ("weights", "average"):
            check_fit(dict(model.named_parameters()), checkpoint.tensors.get(part, {}))
        trainer.restore(checkpoint.step, checkpoint.tensors, checkpoint.meta.get("seconds", 0.0))
        session.listener.say(f"resuming from step {checkpoint.step} in {folder.path}")
    parameters = sum(p.numel() for p in model.parameters())
    if world.first:
        folder.truncate_metrics(trainer.step)
        folder.update_record({"parameters": parameters, "residual_scale": model.constants.residual_scale.scale})
    length = f"for {settings.budget}" if settings.total is None else f"{settings.total - trainer.step} steps"
    session.listener.say(
        f"training {parameters / 1e6:.2f} M parameters on {session.device}: {length} of {settings.batch} images"
        + f", on {world.size} processes" * (world.size > 1)
    )
    return trainer


class _TrainingLoop:
    """Runs a trainer, and at the steps given by the recipe logs, validates, draws sample grids and saves checkpoints."""

    def __init__(self, session: Session, trainer: Trainer, held_out_images: dict[Grid, Images]) -> None:
        self.session, self.trainer, self.held_out_images = session, trainer, held_out_images
        recipe, folder = session.recipe, session.folder
        constants = Checkpoint(0, {"constants": trainer.model.constants.tensors()}, {})
        self.averaged_model = rebuild(recipe, constants).to(session.device).eval()
        self.logger = RunLogger(folder, recipe.log, trainer.step) if session.world.first else None
        self.examples = recipe.data.open("test", trainer.problem.grids[0], recipe.seed, min(SHEET, recipe.eval.images))
        self.saved = trainer.step  # the step of the last checkpoint

    def run(self, *, resumed: bool) -> None:
        """Train to the last step. Raises Interrupted and NonFiniteError, both with the state saved."""
        step, folder = self.trainer.step, self.session.folder
        if resumed and step % self.session.recipe.train.sample_every == 0 and not folder.sheet(step).exists():
            self._draw()
        try:
            with self.session.stop.hold():
                for record in self.trainer.run():
                    self.session.listener.trained(record)
                    self._after_step(record)
                if not self.trainer.done:
                    self._stop()
        except NonFiniteError as error:
            if self.trainer.step > self.saved:
                self._save()
            details = folder.path / "nonfinite.json"
            if self.session.world.first:
                write_json(details, _json_safe(error.cause))
            raise NonFiniteError(f"{error}. Details are in {details}", error.cause) from None
        if self.logger:
            self.logger.close()

    def _after_step(self, record: StepRecord) -> None:
        """Log, validate, save and draw as scheduled; raise Interrupted if a stop was requested."""
        settings, trainer, world = self.session.recipe.train, self.trainer, self.session.world
        last, score = trainer.done, None
        if self.logger:
            self.logger.step(record, last=last, skipped=trainer.skipped)
        if self.held_out_images and (last or record.step % (settings.evaluate_every or 1) == 0):
            with self.session.stop.release():
                score = self._validate(record.step)
        if last or score is not None or record.step % settings.checkpoint_every == 0:
            self._save(score)
            self.saved = trainer.step
        if last or record.step % settings.sample_every == 0:
            with self.session.stop.release():
                self._draw()
        if world.any(self.session.stop()) and not last:
            self._stop()

    def _stop(self) -> NoReturn:
        trainer, world = self.trainer, self.session.world
        if trainer.step > self.saved:
            self._save()
        world.barrier()  # until the state is saved: if one process ends, the others are ended too
        message = f"stopped at step {trainer.step}; the state is saved and the same command resumes"
        raise Interrupted(message if world.first else "")

    def _averaged(self) -> Trained:
        load_weights(self.averaged_model, self.trainer.average)
        return Trained(self.session.recipe, self.averaged_model, self.session.device, self.trainer.step)

    def _validate(self, step: int) -> float | None:
        """CRPS on the held-out images; None if it is undefined."""
        recipe = self.session.recipe
        problem = replace(self.trainer.problem, images=self.held_out_images, seed=recipe.seed)
        model = self._averaged().model
        if not recipe.train.clean:
            return self._logged(validate_measured(model, problem, recipe.sample, recipe.eval), step)
        protocol = Protocol(
            "validation", "", problem.degradation, problem.noise, recipe.eval, recipe.metrics, recipe.seed,
            self.session.device,
        )  # fmt: skip
        return self._logged(validate(model, problem, recipe.sample, protocol, self.session.world), step)

    def _logged(self, table: dict[str, Any], step: int) -> float | None:
        if self.logger:
            self.logger.validation(table, step)
        return crps(table)

    def _save(self, score: float | None = None) -> None:
        trainer, folder = self.trainer, self.session.folder
        tensors = {**trainer.state(), "constants": trainer.model.constants.tensors()}
        meta = {"seed": self.session.recipe.training_seed, "seconds": trainer.seconds}
        if self.session.world.first:
            keep = self.session.recipe.train.keep
            save_checkpoint(folder.checkpoints, trainer.step, tensors, meta, keep=keep, score=score)

    def _draw(self) -> None:
        if self.logger:
            self.logger.sheet(_sheet(self._averaged(), self.session.folder, self.examples), self.trainer.step)


def _json_safe(value: Any) -> Any:
    """Replace non-finite floats, which JSON cannot represent, by strings."""
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_safe(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _sheet(trained: Trained, folder: RunFolder, images: Images | None = None) -> bytes:
    """Write the labelled sample grid of a step as a PNG and return it; the test images are the same at every step."""
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
    png = sample_sheet(x, measurement, estimate.mean, mean, samples)
    write_atomic(folder.sheet(trained.step), png)
    return png
