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
from invkit.experiment.priors import priors
from invkit.experiment.run_folder import RunFolder, environment
from invkit.experiment.session import Session, protocols
from invkit.experiment.smoke import shrunk
from invkit.experiment.train import train
from invkit.experiment.trained_model import Trained, load_trained
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.trainer import Trainer

FREE_OF_SAVED = ("eval.metrics", "eval.paired_to")
TRAINED = ("model", "diffusion", "train")  # sections of a recipe that determine its weights


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
    folder = RunFolder(out or Path("runs") / (recipe.name + "-smoke" * smoke))
    with stop_requests() as stop, join(pick_device(device)) as (world, where):
        listener = listener if listener and world.first else Listener()
        if smoke:
            recipe = shrunk(recipe, listener.say)
        set_determinism(recipe.train.determinism == "strict")
        with folder.claim(recipe, fresh=fresh) if world.first else nullcontext():
            if world.first:
                listener = RecordingListener(listener, folder)
                folder.update_record(environment(recipe, str(where)) | {"processes": world.size})
            world.barrier()  # until the folder is ours
            _fetch(recipe)
            loaded = _priors(recipe, where)  # before the training, which may take hours
            session = Session(recipe, folder, listener, stop, world, where)
            evaluate_run(session, train(session), loaded)
    return folder.path


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
    from_saved: bool = False,
) -> dict[str, Any]:
    """The table of a run, computed if it is not there yet; `registry` as in `load_recipe`.

    Overrides of `eval` and `sample` replace the run's table; with any other (`degradation`, `noise`, `data`) the table is
    computed and returned, and the run's own stays. So it does with `from_saved`: the table of the stored
    reconstructions, without the model. Raises RecipeError for those of what is trained.
    """
    for text in overrides:
        if text.split("=")[0].split(".")[0] in TRAINED:
            raise RecipeError(
                f"command line: {text}: the weights were trained without that, and an evaluation would not use it; train with it: "
                f"`invkit run RECIPE {text} --out ANOTHER_FOLDER`"
            )
    if from_saved:
        return _from_saved(*RunFolder.open(path, tuple(overrides), registry), overrides, pick_device(device))
    with stop_requests() as stop, join(pick_device(device)) as (world, where):
        listener = listener if listener and world.first else Listener()
        trained = _loaded(path, where, registry)
        folder, recipe = RunFolder.open(path, tuple(overrides), registry)
        _fetch(recipe)
        loaded = _priors(recipe, where)
        session = Session(recipe, folder, listener, stop, world, where)
        if any(text.split("=")[0].split(".")[0] not in ("eval", "sample") for text in overrides):
            return evaluate_methods(session, trained, loaded).table
        every = weights_sha256(trained.model, *loaded.values())
        if (table := stored_table(recipe, folder, every, world)) is not None:  # nothing is written: no lock
            return table
        with locked(folder.path) if world.first else nullcontext():
            return evaluate_run(session, trained, loaded)


def _from_saved(folder: RunFolder, recipe: Recipe, overrides: Sequence[str], device: torch.device) -> dict[str, Any]:
    """See `invkit.evaluation.saved_samples`; only metrics can change, not the stored images."""
    for text in overrides:
        if not text.split("=")[0].startswith(FREE_OF_SAVED):
            raise RecipeError(f"{text}: with --from-saved only {', '.join(FREE_OF_SAVED)} can be changed")
    try:
        table = json.loads((folder.eval / "table.json").read_text("utf-8"))
        whole = table["protocol"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder.path} has no table yet; `invkit eval {folder.path}` makes it") from None
    made = evaluate_saved(folder.eval, table, protocols(recipe, table["rows"][0]["run"], device))
    found = combine_degradations(made, whole["degradation"])
    part = found.table["protocol"]
    note = (
        f"from stored reconstructions: {part['images']} of {whole['images']} images, "
        f"{part['samples']} of {whole['samples']} samples"
    )
    return {**found.table, "protocol": {**part, "from_saved": note}, "notes": [note]}


def load(path: Path, device: str = "auto", registry: Registry | None = None) -> Trained:
    """The trained model of a run; raises DataError where there is none or it is damaged."""
    return _loaded(path, pick_device(device), registry)


def _loaded(path: Path, device: torch.device, registry: Registry | None) -> Trained:
    folder, recipe = RunFolder.open(Path(path), registry=registry)
    if (trained := load_trained(recipe, folder, device)) is None:
        raise DataError(f"{path} has no checkpoint yet; `invkit run` with its recipe goes on training")
    return trained


def profile(recipe: Recipe, device: str = "auto", listener: Listener | None = None) -> list[dict[str, Any]]:
    """Where a training step's time goes; nothing is written. See `invkit.training.profiling`."""
    from invkit.training.profiling import STEPS, WARM, profile_steps

    where = pick_device(device)
    set_determinism(recipe.train.determinism == "strict")
    problem = Problem(
        recipe.open_images("train", (listener or Listener()).say), recipe.degradation, recipe.noise, recipe.seed
    )
    model = build_model(problem, recipe.model, recipe.diffusion, recipe.train.precision, where)
    settings = recipe.train.model_copy(update={"steps": WARM + STEPS, "budget": None})
    return profile_steps(Trainer(problem, model, settings, where))


def _fetch(recipe: Recipe) -> None:
    """Get what has to be downloaded while Ctrl-C still stops at once; later, signals wait for a safe place."""
    if recipe.data.missing():
        recipe.data.open("test", as_grid(recipe.train.grids[0], recipe.data.channels), recipe.seed, 1)


def _priors(recipe: Recipe, device: torch.device) -> dict[str, ConditionalModel]:
    """The models behind the zero-shot rows, by their run folders."""
    return priors(recipe, lambda path: _loaded(path, device, recipe.registry))
