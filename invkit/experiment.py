"""From a recipe to a trained model, a table and a report, in a folder that can be left and come back to at any time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invkit.checkpoint import Checkpoint, check_fit, latest_checkpoint, save_checkpoint
from invkit.data.base import Images, Split
from invkit.data.photos import Photos
from invkit.degradation import Degradation, Measurement
from invkit.device import pick_device, place, set_determinism
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.errors import DataError, Interrupted
from invkit.evaluation import Evaluation, evaluate_rows
from invkit.files import write_atomic
from invkit.grid import Grid
from invkit.joining import joined
from invkit.keys import Keys
from invkit.lock import locked
from invkit.pictures import sample_sheet
from invkit.plugins import Registry
from invkit.recipe import CHOICES, Recipe
from invkit.reconstruct import Sources
from invkit.report import write_report
from invkit.resolve import plain
from invkit.runfolder import RunFolder, decisive, environment, without_secrets
from invkit.signals import Stop, stop_requests
from invkit.training import Problem, StepRecord, Trainer, as_grid, build_model

SHEET = 8  # pictures on a sample grid


class Listener:
    """What a run tells its caller; the default hears nothing."""

    def say(self, text: str) -> None:
        """A line for the person."""

    def trained(self, record: StepRecord, total: int) -> None:
        """A step was made."""

    def evaluated(self, done: int, total: int) -> None:
        """Some pictures were evaluated."""


class _Noted(Listener):
    """Passes everything on, and writes what is said into the run's log."""

    def __init__(self, listener: Listener, folder: RunFolder) -> None:
        self._listener, self._folder = listener, folder

    def say(self, text: str) -> None:
        self._folder.note(text)
        self._listener.say(text)

    def trained(self, record: StepRecord, total: int) -> None:
        self._listener.trained(record, total)

    def evaluated(self, done: int, total: int) -> None:
        self._listener.evaluated(done, total)


@dataclass(frozen=True)
class Trained:
    """A trained run: its recipe, and its model with averaged weights, ready to be asked.

    `mean` and `sample` take a `Measurement`, made by `invkit.measure_points` or by `measure` in `invkit.degradation`.
    """

    recipe: Recipe
    model: ConditionalModel
    device: torch.device
    step: int

    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W), observed pixels pasted where they are exact."""
        return measurement.paste(self.model.mean(measurement.to(self.device)).cpu())

    def sample(self, measurement: Measurement, count: int, seed: int = 0) -> Tensor:
        """`count` posterior samples (K, B, C, H, W), a function of the seed and the place in the batch."""
        keys = Keys.of(seed, "posterior", range(len(measurement)), self.device)
        return measurement.paste(self.model.sample(measurement.to(self.device), keys, count, self.recipe.sample).cpu())


def run(
    recipe: Recipe,
    out: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    smoke: bool = False,
    listener: Listener | None = None,
) -> Path:
    """Train, evaluate and report what is not done yet; returns the run's folder.

    Raises RecipeError (also where another process is in the folder), DataError, NonFiniteError, or Interrupted with the
    state saved; MemoryError, torch's own of that kind and OSError where the machine has no more.
    """
    listener = listener or Listener()
    name = recipe.name + "-smoke" * smoke
    if smoke:
        recipe = _smoke(recipe, listener)
    folder = RunFolder(out or Path("runs") / name)
    with stop_requests() as stop:
        where = pick_device(device)
        set_determinism(recipe.train.determinism == "strict")
        with folder.claim(recipe, fresh=fresh):
            listener = _Noted(listener, folder)
            folder.update_record(environment(recipe, str(where)))
            _fetch(recipe)
            trained = _train(recipe, folder, where, listener, stop)
            _evaluate(recipe, folder, trained, listener, stop)
    return folder.path


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """The table of a run, computed if it is not there yet; `registry` as in `load_recipe`.

    Overrides of `eval` and `sample` re-do the run's table; with any other (`degradation`, `noise`, `data`) the table is
    computed and returned, and the run's own stays.
    """
    listener = listener or Listener()
    with stop_requests() as stop:
        trained = load(path, device, registry)
        folder, recipe = RunFolder.open(path, tuple(overrides), registry)
        _fetch(recipe)
        if any(text.split("=")[0].split(".")[0] not in ("eval", "sample") for text in overrides):
            return _rows(recipe, folder, trained, listener, stop).table
        if (table := _saved(folder, _fingerprint(recipe, trained))) is not None:  # nothing is written: no lock
            return table
        with locked(folder.path):
            return _evaluate(recipe, folder, trained, listener, stop)


def load(path: Path, device: str = "auto", registry: Registry | None = None) -> Trained:
    """The trained model of a run; raises DataError where there is none or it is damaged."""
    folder, recipe = RunFolder.open(Path(path), registry=registry)
    checkpoint = latest_checkpoint(folder.checkpoints, ("average", "constants"))
    if checkpoint is None:
        raise DataError(f"{path} has no checkpoint yet; `invkit run` with its recipe goes on training")
    return _averaged(recipe, checkpoint, pick_device(device))


def _averaged(recipe: Recipe, checkpoint: Checkpoint, device: torch.device) -> Trained:
    model = _rebuild(recipe, checkpoint)
    _put(model, checkpoint.tensors["average"])
    return Trained(recipe, place(model, device).eval(), device, checkpoint.step)


def _rebuild(recipe: Recipe, checkpoint: Checkpoint) -> ConditionalModel:
    """An unfilled model with the measured constants of a checkpoint."""
    try:
        constants = Constants.of(checkpoint.tensors["constants"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"the checkpoint's constants are not those of a model ({error!r}); use --fresh") from None
    return ConditionalModel(recipe.model, recipe.diffusion, constants, recipe.train.precision)


def _put(model: ConditionalModel, weights: Mapping[str, Tensor]) -> None:
    check_fit(dict(model.named_parameters()), weights)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])


def _fetch(recipe: Recipe) -> None:
    """Get what has to be downloaded while Ctrl-C still stops at once; later, signals wait for a safe place."""
    if recipe.data.missing():
        recipe.data.open("test", as_grid(recipe.train.grids[0], recipe.data.channels), recipe.seed, 1)


def _open(recipe: Recipe, split: Split, listener: Listener) -> dict[Grid, Images]:
    sizes = recipe.train.grids if split == "train" else recipe.eval.grids or recipe.train.grids
    opened = {}
    for grid in dict.fromkeys(as_grid(size, recipe.data.channels) for size in sizes):
        opened[grid] = recipe.data.open(split, grid, recipe.seed, None if split == "train" else recipe.eval.images)
        for note in opened[grid].notes:
            listener.say(note)
        if not len(opened[grid]):
            raise DataError(f"data: the {split} split holds no picture")
    return opened


def _train(recipe: Recipe, folder: RunFolder, device: torch.device, listener: Listener, stop: Stop) -> Trained:
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is not None and checkpoint.step >= recipe.train.steps:
        listener.say(f"training is done: {checkpoint.step} steps in {folder.path}")
        trained = _averaged(recipe, checkpoint, device)
        if not folder.sheet(trained.step).exists():  # a stop came between the two
            _sheet(trained, folder)
        return trained
    problem = Problem(_open(recipe, "train", listener), recipe.degradation, recipe.noise, recipe.seed)
    if checkpoint is None:
        model = build_model(problem, recipe.model, recipe.diffusion, recipe.train.precision, device)
    else:
        model = place(_rebuild(recipe, checkpoint), device)
    trainer = Trainer(problem, model, recipe.train, device)
    if checkpoint is not None:
        for part in ("weights", "average"):
            check_fit(dict(model.named_parameters()), checkpoint.tensors.get(part, {}))
        trainer.restore(checkpoint.step, checkpoint.tensors)
        listener.say(f"going on from step {checkpoint.step} in {folder.path}")
    folder.keep_metrics(trainer.step)
    parameters = sum(p.numel() for p in model.parameters())
    folder.update_record({"parameters": parameters, "residual_scale": model.constants.scale})
    listener.say(
        f"training {parameters / 1e6:.2f} M parameters on {device}: {recipe.train.steps - trainer.step} steps of "
        f"{recipe.train.batch} pictures"
    )
    shadow = _rebuild(recipe, Checkpoint(0, {"constants": model.constants.tensors()}, {})).to(device).eval()
    scalars = _Scalars(folder, recipe, trainer.step)

    images = recipe.data.open("test", problem.grids[0], recipe.seed, min(SHEET, recipe.eval.images))

    def sheet() -> None:
        _put(shadow, trainer.average)
        _sheet(Trained(recipe, shadow, device, trainer.step), folder, images)

    def save() -> Checkpoint:
        tensors = {**trainer.state(), "constants": model.constants.tensors()}
        save_checkpoint(folder.checkpoints, trainer.step, tensors, {"seed": recipe.seed})
        return Checkpoint(trainer.step, tensors, {})

    if checkpoint and trainer.step % recipe.train.sample_every == 0 and not folder.sheet(trainer.step).exists():
        sheet()
    saved = None
    with stop.hold():
        for record in trainer.run():
            listener.trained(record, recipe.train.steps)
            scalars.add(record)
            last = record.step == recipe.train.steps
            if last or record.step % recipe.train.checkpoint_every == 0:
                saved = save()
            if last or record.step % recipe.train.sample_every == 0:
                with stop.release():
                    sheet()
            if stop() and not last:
                save()
                raise Interrupted(f"stopped at step {trainer.step}, saved; the same command goes on from there")
    scalars.close()
    assert saved is not None
    return _averaged(recipe, saved, device)


class _Scalars:
    """metrics.jsonl and TensorBoard; a logger that fails is left out, said in the run's log."""

    def __init__(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        self.folder, self.every, self.total, self.writer = folder, recipe.log.every, recipe.train.steps, None
        if recipe.log.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(folder.tensorboard, purge_step=step + 1)
            except Exception as error:
                folder.note(f"no TensorBoard: {error}")

    def add(self, record: StepRecord) -> None:
        if record.step % self.every and record.step != self.total:
            return
        values = {"loss": record.loss, "grad_norm": record.grad_norm, "lr": record.lr}
        self.folder.append_metrics({"step": record.step, **values, "images": record.images, "seconds": record.seconds})
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, record.step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _sheet(trained: Trained, folder: RunFolder, images: Images | None = None) -> None:
    """Write the labelled sample grid of a step, from test pictures that are the same at every step."""
    recipe = trained.recipe
    grid = as_grid(recipe.train.grids[0], recipe.data.channels)
    if images is None:
        images = recipe.data.open("test", grid, recipe.seed, min(SHEET, recipe.eval.images))
    problem = Problem({grid: images}, trained.recipe.degradation, trained.recipe.noise, trained.recipe.seed)
    ids, count = list(range(min(SHEET, len(images)))), trained.recipe.eval.samples
    x = images[ids].to(trained.device)
    keys = Keys.of(trained.recipe.seed, "sheet", ids, trained.device)
    measurement = problem.measure(x, keys, grid)
    fill = trained.model.condition(measurement).fill
    mean = trained.model.mean(measurement)
    samples = trained.model.sample(measurement, keys.child("samples"), min(8, max(2, count)), trained.recipe.sample)
    picture = sample_sheet(x, measurement, fill, mean, samples)
    write_atomic(folder.sheet(trained.step), picture)


def _fingerprint(recipe: Recipe, trained: Trained) -> str:
    """What a table is a function of: the weights, and the recipe but for how they came about."""
    digest = hashlib.sha256(json.dumps(decisive(recipe), sort_keys=True).encode())
    for name, p in sorted(trained.model.named_parameters()):
        digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _saved(folder: RunFolder, fingerprint: str) -> dict[str, Any] | None:
    """The run's table, where it is of these weights and settings and not damaged."""
    try:
        if json.loads((folder.eval / "done.json").read_text("utf-8")) == {"fingerprint": fingerprint}:
            return json.loads((folder.eval / "table.json").read_text("utf-8"))
    except (OSError, ValueError):
        pass
    return None


def _evaluate(recipe: Recipe, folder: RunFolder, trained: Trained, listener: Listener, stop: Stop) -> dict[str, Any]:
    """The run's table and report, made anew unless they are of these weights and settings already."""
    stamp, fingerprint = folder.eval / "done.json", _fingerprint(recipe, trained)
    if (table := _saved(folder, fingerprint)) is not None:
        listener.say(f"everything is done: the table and the report are in {folder.path}")
        return table
    stamp.unlink(missing_ok=True)
    result = _rows(recipe, folder, trained, listener, stop)
    result.write(folder.eval)
    record = folder.update_record({"evaluation": result.record})
    write_report(folder.path, result, record)
    write_atomic(stamp, json.dumps({"fingerprint": fingerprint}))
    return result.table


def _rows(recipe: Recipe, folder: RunFolder, trained: Trained, listener: Listener, stop: Stop) -> Evaluation:
    laws = _laws(recipe)

    def progress(done: int, total: int) -> None:
        if stop():
            raise Interrupted("stopped during the evaluation; training is saved, the same command evaluates again")
        listener.evaluated(len(results) * total + done, len(laws) * total)

    model = trained.model
    sources = Sources(model, recipe.sample, recipe.data.law())
    methods = [method.build(sources) for method in recipe.eval.methods]
    images = _open(recipe, "test", listener)
    results: dict[str, Evaluation] = {}
    for name, law in laws.items():
        results[name] = evaluate_rows(
            methods, images, law, recipe.noise, recipe.eval, seed=recipe.seed, device=trained.device,
            run=folder.path.name, degradation_name=name, progress=progress,
        )  # fmt: skip
    settings = json.dumps(plain(recipe, recipe.registry, CHOICES)["degradation"])
    return joined(results, json.loads(without_secrets(settings)))


def _laws(recipe: Recipe) -> dict[str, Degradation]:
    """What the table has rows for, by name; equal names are told apart by their places."""
    found = [(recipe.registry.name_of(named) or "", law) for named, law in recipe.degradation.table_rows()]
    names = [name for name, _ in found]
    return {f"{name}#{i}" if names.count(name) > 1 else name: law for i, (name, law) in enumerate(found)}


def _smoke(recipe: Recipe, listener: Listener) -> Recipe:
    """The whole recipe in seconds: few steps, pictures, samples; the photos where the data are missing."""
    train, eval_ = recipe.train, recipe.eval
    batch = min(train.batch, 8)
    small = {
        "steps": min(train.steps, 6), "batch": batch, "accumulate": min(train.accumulate, 2) if batch % 2 == 0 else 1,
        "checkpoint_every": 3, "sample_every": 6, "warmup": min(train.warmup, 2),
    }  # fmt: skip
    data = recipe.data
    if missing := data.missing():
        listener.say(f"smoke run: {missing}; using the embedded photos in their place")
        data = Photos()
    changes = {
        "train": train.model_copy(update=small),
        "eval": eval_.model_copy(update={"images": min(eval_.images, 8), "samples": min(eval_.samples, 3), "batch": 8}),
        "sample": recipe.sample.model_copy(update={"steps": min(recipe.sample.steps, 3)}),
        "data": data,
    }
    return recipe.model_copy(update=changes)
