"""From a recipe to a trained model, a table and a report, in a folder that can be left and come back to at any time."""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invkit.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from invkit.data.base import Images, Split
from invkit.data.photos import Photos
from invkit.degradation import Degradation, Measurement
from invkit.device import pick_device, place, set_determinism
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.distributed import STOPS, World, join
from invkit.errors import DataError, Interrupted
from invkit.evaluation import Evaluation, evaluate_rows
from invkit.files import write_atomic
from invkit.grid import Grid
from invkit.joining import joined
from invkit.keys import Keys
from invkit.pictures import sample_sheet
from invkit.plugins import Registry
from invkit.recipe import CHOICES, Recipe
from invkit.reconstruct import Sources
from invkit.report import write_report
from invkit.resolve import plain
from invkit.runfolder import RunFolder, decisive, environment
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

    Raises RecipeError, DataError, NonFiniteError, ResourceError, or Interrupted with the state saved.
    """
    folder = RunFolder(out or Path("runs") / (recipe.name + "-smoke" * smoke))
    with join(pick_device(device)) as (world, where):
        listener = listener if listener and world.first else Listener()
        if smoke:
            recipe = _smoke(recipe, listener)
        set_determinism(recipe.train.determinism == "strict")
        if world.first:
            folder.claim(recipe, fresh=fresh)
            listener = _Noted(listener, folder)
            folder.update_record(environment(recipe, str(where)) | {"processes": world.size})
        world.barrier()  # until the folder is ours
        _fetch(recipe)
        with _stop_requests() as stop:
            trained = _train(recipe, folder, where, listener, stop, world)
            _evaluate(recipe, folder, trained, listener, stop, world)
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
    with join(pick_device(device)) as (world, where):
        listener = listener if listener and world.first else Listener()
        trained = _load(path, where, registry)
        folder, recipe = RunFolder.open(path, tuple(overrides), registry)
        _fetch(recipe)
        with _stop_requests() as stop:
            if all(text.split("=")[0].split(".")[0] in ("eval", "sample") for text in overrides):
                return _evaluate(recipe, folder, trained, listener, stop, world)
            return _rows(recipe, folder, trained, listener, stop, world).table


def load(path: Path, device: str = "auto", registry: Registry | None = None) -> Trained:
    """The trained model of a run; raises DataError where there is none or it is damaged."""
    return _load(path, pick_device(device), registry)


def _load(path: Path, device: torch.device, registry: Registry | None) -> Trained:
    folder, recipe = RunFolder.open(Path(path), registry=registry)
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise DataError(f"{path} has no checkpoint yet; `invkit run` with its recipe goes on training")
    return _averaged(recipe, checkpoint, device)


def _averaged(recipe: Recipe, checkpoint: Checkpoint, device: torch.device) -> Trained:
    model = _rebuild(recipe, checkpoint)
    _put(model, checkpoint.tensors["average"])
    return Trained(recipe, place(model, device).eval(), device, checkpoint.step)


def _rebuild(recipe: Recipe, checkpoint: Checkpoint) -> ConditionalModel:
    """An unfilled model with the measured constants of a checkpoint."""
    constants = Constants.of(checkpoint.tensors["constants"])
    return ConditionalModel(recipe.model, recipe.diffusion, constants, recipe.train.precision)


def _put(model: ConditionalModel, weights: dict[str, Tensor]) -> None:
    own = {name: p.shape for name, p in model.named_parameters()}
    if own != {name: value.shape for name, value in weights.items()}:
        raise DataError("the checkpoint's weights do not fit the recipe's model; start again with --fresh")
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


def _train(
    recipe: Recipe, folder: RunFolder, device: torch.device, listener: Listener, stop: Callable[[], bool], world: World
) -> Trained:
    checkpoint = latest_checkpoint(folder.checkpoints)
    world.agree(
        checkpoint.step if checkpoint else 0, f"the last checkpoint in {folder.path}, as a shared disk shows it,"
    )
    if checkpoint is not None and checkpoint.step >= recipe.train.steps:
        listener.say(f"training is done: {checkpoint.step} steps in {folder.path}")
        return _averaged(recipe, checkpoint, device)
    problem = Problem(_open(recipe, "train", listener), recipe.degradation, recipe.noise, recipe.seed)
    if checkpoint is None:
        model = build_model(problem, recipe.model, recipe.diffusion, recipe.train.precision, device)
    else:
        model = place(_rebuild(recipe, checkpoint), device)
    world.broadcast_(model.parameters())  # drawn alike already, unless the machines differ
    trainer = Trainer(problem, model, recipe.train, device, world)
    if checkpoint is not None:
        trainer.restore(checkpoint.step, checkpoint.tensors)
        listener.say(f"going on from step {checkpoint.step} in {folder.path}")
    parameters = sum(p.numel() for p in model.parameters())
    if world.first:
        folder.keep_metrics(trainer.step)
        folder.update_record({"parameters": parameters, "residual_scale": model.constants.scale})
    listener.say(
        f"training {parameters / 1e6:.2f} M parameters on {device}: {recipe.train.steps - trainer.step} steps of "
        f"{recipe.train.batch} pictures" + f", on {world.size} processes" * (world.size > 1)
    )
    shadow = _rebuild(recipe, Checkpoint(0, {"constants": model.constants.tensors()}, {})).to(device).eval()
    scalars = _Scalars(folder, recipe, trainer.step) if world.first else None
    sheet = recipe.data.open("test", problem.grids[0], recipe.seed, min(SHEET, recipe.eval.images))

    def save() -> Checkpoint:
        tensors = {**trainer.state(), "constants": model.constants.tensors()}
        if world.first:
            save_checkpoint(folder.checkpoints, trainer.step, tensors, {"seed": recipe.seed})
        return Checkpoint(trainer.step, tensors, {})

    saved = None
    for record in trainer.run():
        listener.trained(record, recipe.train.steps)
        if scalars:
            scalars.add(record)
        last = record.step == recipe.train.steps
        if last or record.step % recipe.train.checkpoint_every == 0:
            saved = save()
        if world.first and (last or record.step % recipe.train.sample_every == 0):
            _put(shadow, trainer.average)
            _sheet(Trained(recipe, shadow, device, record.step), folder, problem.grids[0], sheet)
        if world.any(stop()) and not last:
            save()
            world.barrier()  # none ends before it is saved: the end of one ends the others
            said = f"stopped at step {trainer.step}, saved; the same command goes on from there"
            raise Interrupted(said if world.first else "")
    if scalars:
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


def _sheet(trained: Trained, folder: RunFolder, grid: Grid, images: Images) -> None:
    """Write the labelled sample grid of a step, from test pictures that are the same at every step."""
    problem = Problem({grid: images}, trained.recipe.degradation, trained.recipe.noise, trained.recipe.seed)
    ids, count = list(range(min(SHEET, len(images)))), trained.recipe.eval.samples
    x = images[ids].to(trained.device)
    keys = Keys.of(trained.recipe.seed, "sheet", ids, trained.device)
    measurement = problem.measure(x, keys, grid)
    fill = trained.model.condition(measurement).fill
    mean = trained.model.mean(measurement)
    samples = trained.model.sample(measurement, keys.child("samples"), min(8, max(2, count)), trained.recipe.sample)
    picture = sample_sheet(x, measurement, fill, mean, samples)
    folder.samples.mkdir(exist_ok=True)
    write_atomic(folder.samples / f"iter_{trained.step:06d}.png", picture)


def _fingerprint(recipe: Recipe, trained: Trained) -> str:
    """What a table is a function of: the weights, and the recipe but for how they came about."""
    digest = hashlib.sha256(json.dumps(decisive(recipe), sort_keys=True).encode())
    for name, p in sorted(trained.model.named_parameters()):
        digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _evaluate(
    recipe: Recipe, folder: RunFolder, trained: Trained, listener: Listener, stop: Callable[[], bool], world: World
) -> dict[str, Any]:
    """The run's table and report, made anew unless they are of these weights and settings already."""
    stamp, fingerprint = folder.eval / "done.json", _fingerprint(recipe, trained)
    done = world.first and stamp.exists() and json.loads(stamp.read_text("utf-8"))["fingerprint"] == fingerprint
    if world.any(done):
        listener.say(f"everything is done: the table and the report are in {folder.path}")
        return json.loads((folder.eval / "table.json").read_text("utf-8"))
    if world.first:
        stamp.unlink(missing_ok=True)
    result = _rows(recipe, folder, trained, listener, stop, world)
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record})
        write_report(folder.path, result, record)
        write_atomic(stamp, json.dumps({"fingerprint": fingerprint}))
    return result.table


def _rows(
    recipe: Recipe, folder: RunFolder, trained: Trained, listener: Listener, stop: Callable[[], bool], world: World
) -> Evaluation:
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
            run=folder.path.name, degradation_name=name, progress=progress, world=world,
        )  # fmt: skip
    return joined(results, plain(recipe, recipe.registry, CHOICES)["degradation"])


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


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turns SIGINT, SIGTERM and SIGUSR1 into a question that is asked where stopping is safe."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in STOPS}
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
