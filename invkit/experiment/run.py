"""The public functions behind `invkit.run`, `invkit.evaluate` and `invkit.load`."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from invkit.core.device import pick_device, set_determinism
from invkit.core.distributed import join
from invkit.core.errors import DataError, RecipeError
from invkit.core.files import locked
from invkit.core.grid import as_grid
from invkit.core.signals import stop_requests
from invkit.diffusion.model import ConditionalModel
from invkit.evaluation.combine import combine_degradations
from invkit.evaluation.saved_samples import evaluate_saved
from invkit.experiment.callbacks import Listener, RecordingListener
from invkit.experiment.evaluate import evaluate_methods, evaluate_run, stored_table, weights_sha256
from invkit.experiment.priors import load_priors
from invkit.experiment.run_folder import RunFolder, environment
from invkit.experiment.session import Session, protocols
from invkit.experiment.smoke import smoke_recipe
from invkit.experiment.train import train
from invkit.experiment.trained_model import Trained, load_trained
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
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
    folder = RunFolder(out or Path("runs") / (recipe.name + "-smoke" * smoke))
    with stop_requests() as stop, join(pick_device(device)) as (world, torch_device):
        listener = listener if listener and world.first else Listener()
        if smoke:
            recipe = smoke_recipe(recipe, listener.say)
        recipe.check_operators()
        set_determinism(recipe.train.determinism == "strict")
        with folder.claim(recipe, fresh=fresh) if world.first else nullcontext():
            if world.first:
                listener = RecordingListener(listener, folder)
                folder.update_record(environment(recipe, str(torch_device)) | {"processes": world.size})
            world.barrier()  # until the first process holds the folder
            _download(recipe)
            models = _priors(recipe, torch_device)  # before the training, which may take hours
            session = Session(recipe, folder, listener, stop, world, torch_device)
            evaluate_run(session, train(session), models)
    return folder.path


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
    from_saved: bool = False,
) -> dict[str, Any]:
    """The table of a run, computed if it is missing or out of date; `registry` as in `load_recipe`.

    Overrides of `eval` and `sample` replace the stored table. With other overrides (`degradation`, `noise`, `data`), or with
    `from_saved`, which computes the metrics from stored reconstructions without the model, the table is returned and the
    stored one is kept. Raises RecipeError for overrides of settings that determine the weights.
    """
    for text in overrides:
        if text.split("=")[0].split(".")[0] in TRAINED:
            raise RecipeError(
                f"command line: {text}: the weights were trained without this setting; to train with it, use "
                f"`invkit run RECIPE {text} --out ANOTHER_FOLDER`"
            )
    if from_saved:
        return _from_saved(*RunFolder.open(path, tuple(overrides), registry), overrides, pick_device(device))
    with stop_requests() as stop, join(pick_device(device)) as (world, torch_device):
        listener = listener if listener and world.first else Listener()
        trained = _load(path, torch_device, registry)
        folder, recipe = RunFolder.open(path, tuple(overrides), registry)
        recipe.check_operators()
        _download(recipe)
        models = _priors(recipe, torch_device)
        session = Session(recipe, folder, listener, stop, world, torch_device)
        if any(text.split("=")[0].split(".")[0] not in ("eval", "sample") for text in overrides):
            return evaluate_methods(session, trained, models).table
        weights = weights_sha256(trained.model, *models.values())
        if (
            table := stored_table(recipe, folder, weights, world)
        ) is not None:  # nothing is written, so no lock is needed
            return table
        with locked(folder.path) if world.first else nullcontext():
            return evaluate_run(session, trained, models)


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
    """The trained model of a run. Raises DataError if it is missing or damaged."""
    return _load(path, pick_device(device), registry)


def _load(path: Path, device: torch.device, registry: Registry | None) -> Trained:
    folder, recipe = RunFolder.open(Path(path), registry=registry)
    if (trained := load_trained(recipe, folder, device)) is None:
        raise DataError(f"{path} has no checkpoint yet; `invkit run` with its recipe resumes the training")
    return trained


def profile(recipe: Recipe, device: str = "auto", listener: Listener | None = None) -> list[dict[str, Any]]:
    """Time spent in each part of a training step; nothing is written. See `invkit.training.profiling`."""
    from invkit.training.profiling import STEPS, WARM, profile_steps

    torch_device = pick_device(device)
    recipe.check_operators()
    set_determinism(recipe.train.determinism == "strict")
    problem = Problem(
        recipe.open_images("train", (listener or Listener()).say), recipe.degradation, recipe.noise, recipe.seed
    )
    model = build_model(problem, recipe.model, recipe.diffusion, recipe.train.precision, torch_device)
    settings = recipe.train.model_copy(update={"steps": WARM + STEPS, "budget": None})
    return profile_steps(Trainer(problem, model, settings, torch_device))


def _download(recipe: Recipe) -> None:
    """Download missing data. Done early, while Ctrl-C still stops at once; later a signal waits for a safe point."""
    if recipe.data.missing():
        recipe.data.open("test", as_grid(recipe.train.grids[0], recipe.data.channels), recipe.seed, 1)


def _priors(recipe: Recipe, device: torch.device) -> dict[str, ConditionalModel]:
    """The priors of the zero-shot methods, by run folder."""
    return load_priors(recipe, lambda path: _load(path, device, recipe.registry))
