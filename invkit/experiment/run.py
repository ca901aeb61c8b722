"""The public functions behind `invkit.run`, `invkit.evaluate` and `invkit.load`."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from invkit.core.device import pick_device, set_determinism
from invkit.core.distributed import join
from invkit.core.errors import DataError, RecipeError
from invkit.core.files import locked, make_folder, write_atomic
from invkit.core.grid import as_grid
from invkit.core.signals import stop_requests
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.combine import combine_degradations
from invkit.evaluation.saved_samples import evaluate_saved
from invkit.experiment.callbacks import Listener, RecordingListener
from invkit.experiment.contents import record_contents, warn_of_changed_files
from invkit.experiment.evaluate import evaluate_run, stamp_of
from invkit.experiment.priors import load_priors
from invkit.experiment.provenance import environment
from invkit.experiment.rehearsal import rehearse
from invkit.experiment.run_folder import RUNS, RunFolder, warn_of_changed_code, without_secrets
from invkit.experiment.session import Session, protocols
from invkit.experiment.smoke import smoke_recipe
from invkit.experiment.stored_table import fingerprint, result_settings, stored_table
from invkit.experiment.train import train, training_problem
from invkit.experiment.trained_model import Trained, load_trained
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe
from invkit.training.initialise import build_model
from invkit.training.trainer import Trainer

CHANGEABLE = ("eval.metrics", "eval.paired_to")  # settings that stored reconstructions do not depend on
TRAINED = ("model", "diffusion", "train")  # sections of a recipe that determine its weights


def run(
    recipe: Recipe,
    out: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    smoke: bool = False,
    listener: Listener | None = None,
) -> Path:
    """Train, evaluate and report, or resume an interrupted run; returns the run folder.

    Raises RecipeError (also if another process holds the folder), DataError, NonFiniteError, or Interrupted with the state
    saved; MemoryError, torch.OutOfMemoryError or OSError if memory or disk are exhausted.
    """
    folder = RunFolder(out or RUNS / (recipe.name + "-smoke" * smoke))
    with stop_requests() as stop, join(pick_device(device)) as (world, torch_device):
        listener = listener if listener and world.first else Listener()
        if folder.has_checkpoint and not fresh:  # its channels are recorded
            recipe = folder.bound(recipe)
        recipe.check_operators()
        if smoke:
            recipe = smoke_recipe(recipe, listener.say)
        set_determinism(recipe.train.determinism == "strict")
        with folder.claim(recipe, fresh=fresh) if world.first else nullcontext():
            if world.first:
                listener = RecordingListener(listener, folder)
                folder.update_record(environment(recipe, str(torch_device)) | {"processes": world.size})
                record_contents(folder, recipe)
            world.barrier()  # until the first process holds the folder
            recipe = folder.bound(recipe)
            _download(recipe)
            models = _priors(recipe, torch_device)  # before the training, which may take hours
            session = Session(recipe, folder, listener, stop, world, torch_device)
            evaluate_run(session, train(session, partial(rehearse, session, models)), models)
    return folder.path


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
    from_saved: bool = False,
    name: str | None = None,
) -> dict[str, Any]:
    """The table of a run, computed if it is missing or out of date; `registry` as in `load_recipe`.

    With overrides that change it, or a `name`, the table is stored beside the run's own, in `eval/NAME`; by default the
    name is a digest of the changes. With `from_saved` the metrics are computed without the model from the reconstructions
    that an evaluation stored, the run's own or that of `name`, and nothing is stored. Raises RecipeError for overrides of
    settings that determine the weights, and for the name of a table with other settings.
    """
    return evaluation(path, overrides, device, listener, registry, from_saved, name)[0]


def evaluation(
    run: Path | RunFolder,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
    from_saved: bool = False,
    name: str | None = None,
) -> tuple[dict[str, Any], RunFolder]:
    """The table of `evaluate`, and the folder whose `eval` holds its files."""
    for text in overrides:
        if text.split("=")[0].split(".")[0] in TRAINED:
            raise RecipeError(
                f"command line: {text}: the weights were trained without this setting; to train with it, use "
                f"`invkit run RECIPE {text} --out ANOTHER_FOLDER`"
            )
    own = folder = run if isinstance(run, RunFolder) else RunFolder.find(run)
    recipe = folder.recipe(tuple(overrides), registry)
    if from_saved:
        folder = folder.with_evaluation(name) if name else folder
        return _from_saved(folder, recipe, overrides, pick_device(device)), folder
    if other := _changes(folder, recipe, registry) or name:
        folder = folder.with_evaluation(name or fingerprint(other)[:8])
    with stop_requests() as stop, join(pick_device(device)) as (world, torch_device):
        listener = listener if listener and world.first else Listener()
        session = Session(recipe, folder, listener, stop, world, torch_device)
        trained = _load(own, torch_device, registry)
        if trained.model.channels != recipe.data.channels:
            raise RecipeError(
                f"the model of {own.given} is for images of {trained.model.channels} channels, and those of the data set have "
                f"{recipe.data.channels}; leave the override out, or train another run"
            )
        models = _priors(recipe, torch_device)
        if world.first and own.model:
            own.claim_evaluations()
        table, reason = stored_table(folder, stamp_of(session, trained, models), world)
        if table is not None:  # nothing is written, so no lock is needed
            return table, folder
        if reason and name and "other settings" in reason:
            raise RecipeError(f"{folder.eval} holds another evaluation: {reason}; give another --name")
        if list(other or ()) == ["eval.metrics"]:
            listener.say(
                "only eval.metrics differs from the run: --columns shows a part of its stored table, and --from-saved "
                "computes other metrics without the model"
            )
        recipe.check_operators()
        _download(recipe)
        if world.first and other:
            _prepare(folder, recipe)
        with locked(folder.report.parent) if world.first else nullcontext():
            table = evaluate_run(session, trained, models)
        if other:
            listener.say(f"the table and the report are in {folder.eval}; those of the run itself are unchanged")
        elif own.model:
            listener.say(f"the table and the report are in {folder.path}")
        return table, folder


def _changes(folder: RunFolder, recipe: Recipe, registry: Registry | None) -> dict[str, Any]:
    """The settings of a table that differ from those of a run, by key path."""
    own, now = map(result_settings, (folder.recipe(registry=registry), recipe))
    return {key: now.get(key) for key in sorted(own.keys() | now.keys()) if own.get(key) != now.get(key)}


def _prepare(folder: RunFolder, recipe: Recipe) -> None:
    """Make the folder of an evaluation other than the run's own, with its recipe and the run's record."""
    make_folder(folder.eval)
    write_atomic(folder.eval / "resolved.yaml", without_secrets(recipe.dump()))
    folder.update_record(RunFolder(folder.path, folder.model).record())


def _from_saved(folder: RunFolder, recipe: Recipe, overrides: Sequence[str], device: torch.device) -> dict[str, Any]:
    """The table computed from stored reconstructions; only metrics can be overridden. See `invkit.evaluation.saved_samples`."""
    for text in overrides:
        if not text.split("=")[0].startswith(CHANGEABLE):
            raise RecipeError(f"{text}: with --from-saved only {', '.join(CHANGEABLE)} can be overridden")
    try:
        table = json.loads((folder.eval / "table.json").read_text("utf-8"))
        full = table["protocol"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder.path} has no table yet; `invkit eval {folder.path}` computes it") from None
    results = evaluate_saved(folder.eval, table, protocols(recipe, table["rows"][0]["run"], device))
    combined = combine_degradations(results, full["degradation"])
    protocol = combined.table["protocol"]
    note = (
        f"from stored reconstructions: {protocol['images']} of {full['images']} images, "
        f"{protocol['samples']} of {full['samples']} samples"
    )
    return {**combined.table, "protocol": {**protocol, "from_saved": note}, "notes": [note]}


def load(path: Path, device: str = "auto", registry: Registry | None = None) -> Trained:
    """The trained model of a run or a model file. Raises DataError if it is missing or damaged."""
    return _load(RunFolder.find(path), pick_device(device), registry)


def _load(folder: RunFolder, device: torch.device, registry: Registry | None) -> Trained:
    recipe = folder.recipe(registry=registry)
    if (trained := load_trained(recipe, folder, device)) is None:
        raise DataError(f"{folder.given} has no checkpoint yet; `invkit run` with its recipe resumes the training")
    warn_of_changed_code(folder, recipe)
    warn_of_changed_files(folder, recipe)
    return trained


def profile(recipe: Recipe, device: str = "auto", listener: Listener | None = None) -> str:
    """A text table of what the parts of a training step, a mean and a sample take; nothing is written. See `training.profiling`."""
    from invkit.training.profiling import profile, profile_text

    return profile_text(*profile(profiled(recipe, device, listener), recipe.sample), recipe.train.batch)


def profiled(recipe: Recipe, device: str = "auto", listener: Listener | None = None) -> Trainer:
    """A trainer of as many steps as a profile takes."""
    from invkit.training.profiling import LENGTH

    torch_device = pick_device(device)
    recipe.check_operators()
    set_determinism(recipe.train.determinism == "strict")
    problem = training_problem(recipe, recipe.open_images("train", (listener or Listener()).say))
    settings = recipe.train.model_copy(update={"steps": LENGTH, "budget": None})
    total = LENGTH * settings.batch
    model = build_model(problem, recipe.model, recipe.diffusion, settings.precision, torch_device, total)
    return Trainer(problem, model, settings, torch_device)


def _download(recipe: Recipe) -> None:
    """Download missing data. Done early, while Ctrl-C still stops at once; later a signal waits for a safe point."""
    if recipe.data.missing():
        recipe.data.open("test", as_grid(recipe.train.grids[0], recipe.data.channels), recipe.seed, 1)


def _priors(recipe: Recipe, device: torch.device) -> dict[str, ConditionalModel]:
    """The priors of the zero-shot methods, by run."""
    return load_priors(recipe, lambda path: _load(RunFolder.find(path), device, recipe.registry))
