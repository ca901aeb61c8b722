"""From a recipe to a trained model, a table and a report, in a folder that can be left and come back to at any time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from invkit.degradation import Degradation
from invkit.device import pick_device, set_determinism
from invkit.diffusion.model import ConditionalModel
from invkit.distributed import World, join
from invkit.errors import DataError, Interrupted
from invkit.evaluation import Evaluation, evaluate_rows
from invkit.files import write_atomic
from invkit.fitting import opened, train
from invkit.joining import joined
from invkit.listener import Listener, Noted
from invkit.lock import locked
from invkit.plugins import Registry
from invkit.priors import priors
from invkit.recipe import CHOICES, Recipe
from invkit.reconstruct import Sources
from invkit.report import write_report
from invkit.resolve import plain
from invkit.runfolder import RunFolder, decisive, environment, without_secrets
from invkit.signals import Stop, stop_requests
from invkit.smoke import shrunk
from invkit.trained import Trained, evaluated
from invkit.training import Problem, Trainer, as_grid, build_model


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
                listener = Noted(listener, folder)
                folder.update_record(environment(recipe, str(where)) | {"processes": world.size})
            world.barrier()  # until the folder is ours
            _fetch(recipe)
            loaded = _priors(recipe, where)  # before the training, which may take hours
            trained = train(recipe, folder, where, listener, stop, world)
            _evaluate(recipe, folder, trained, loaded, listener, stop, world)
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
    with stop_requests() as stop, join(pick_device(device)) as (world, where):
        listener = listener if listener and world.first else Listener()
        trained = _loaded(path, where, registry)
        folder, recipe = RunFolder.open(path, tuple(overrides), registry)
        _fetch(recipe)
        loaded = _priors(recipe, where)
        if any(text.split("=")[0].split(".")[0] not in ("eval", "sample") for text in overrides):
            return _rows(recipe, folder, trained, loaded, listener, stop, world).table
        if (table := _saved(folder, _fingerprint(recipe, trained, loaded), world)) is not None:
            return table  # nothing is written: no lock
        with locked(folder.path) if world.first else nullcontext():
            return _evaluate(recipe, folder, trained, loaded, listener, stop, world)


def load(path: Path, device: str = "auto", registry: Registry | None = None) -> Trained:
    """The trained model of a run; raises DataError where there is none or it is damaged."""
    return _loaded(path, pick_device(device), registry)


def _loaded(path: Path, device: torch.device, registry: Registry | None) -> Trained:
    folder, recipe = RunFolder.open(Path(path), registry=registry)
    if (trained := evaluated(recipe, folder, device)) is None:
        raise DataError(f"{path} has no checkpoint yet; `invkit run` with its recipe goes on training")
    return trained


def profile(recipe: Recipe, device: str = "auto", listener: Listener | None = None) -> list[dict[str, Any]]:
    """Where a training step's time goes; nothing is written. See `invkit.profiling`."""
    from invkit.profiling import STEPS, WARM, profile_steps

    where = pick_device(device)
    set_determinism(recipe.train.determinism == "strict")
    problem = Problem(opened(recipe, "train", listener or Listener()), recipe.degradation, recipe.noise, recipe.seed)
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


def _fingerprint(recipe: Recipe, trained: Trained, loaded: Mapping[str, ConditionalModel]) -> str:
    """What a table is a function of: all weights, and the recipe but for how they came about."""
    digest = hashlib.sha256(json.dumps(decisive(recipe), sort_keys=True).encode())
    for model in (trained.model, *loaded.values()):
        for name, p in sorted(model.named_parameters()):
            digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _saved(folder: RunFolder, fingerprint: str, world: World) -> dict[str, Any] | None:
    """The run's table, where it is of these weights and settings and not damaged, as the first process sees it."""
    table = None
    try:
        if world.first and json.loads((folder.eval / "done.json").read_text("utf-8")) == {"fingerprint": fingerprint}:
            table = json.loads((folder.eval / "table.json").read_text("utf-8"))
    except (OSError, ValueError):
        pass
    return json.loads(world.gather(json.dumps(table).encode())[0])


def _evaluate(
    recipe: Recipe, folder: RunFolder, trained: Trained, loaded: Mapping[str, ConditionalModel], listener: Listener,
    stop: Stop, world: World,
) -> dict[str, Any]:  # fmt: skip
    """The run's table and report, made anew unless they are of these weights and settings already."""
    stamp, fingerprint = folder.eval / "done.json", _fingerprint(recipe, trained, loaded)
    if (table := _saved(folder, fingerprint, world)) is not None:
        listener.say(f"everything is done: the table and the report are in {folder.path}")
        return table
    if world.first:
        stamp.unlink(missing_ok=True)
    result = _rows(recipe, folder, trained, loaded, listener, stop, world)
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record})
        write_report(folder.path, result, record)
        write_atomic(stamp, json.dumps({"fingerprint": fingerprint}))
    return result.table


def _rows(
    recipe: Recipe, folder: RunFolder, trained: Trained, loaded: Mapping[str, ConditionalModel], listener: Listener,
    stop: Stop, world: World,
) -> Evaluation:  # fmt: skip
    laws = _laws(recipe)

    def progress(done: int, total: int) -> None:
        if stop():
            raise Interrupted("stopped during the evaluation; training is saved, the same command evaluates again")
        listener.evaluated(len(results) * total + done, len(laws) * total)

    model = trained.model
    sources = Sources(model, recipe.sample, recipe.data.law(), loaded)
    methods = [method.build(sources) for method in recipe.eval.methods]
    images = opened(recipe, "test", listener)
    results: dict[str, Evaluation] = {}
    for name, law in laws.items():
        results[name] = evaluate_rows(
            methods, images, law, recipe.noise, recipe.eval, seed=recipe.seed, device=trained.device,
            run=folder.path.name, degradation_name=name, progress=progress, world=world,
        )  # fmt: skip
    settings = json.dumps(plain(recipe, recipe.registry, CHOICES)["degradation"])
    return joined(results, json.loads(without_secrets(settings)))


def _laws(recipe: Recipe) -> dict[str, Degradation]:
    """What the table has rows for, by name; equal names are told apart by their places."""
    found = [(recipe.registry.name_of(named) or "", law) for named, law in recipe.degradation.table_rows()]
    names = [name for name, _ in found]
    return {f"{name}#{i}" if names.count(name) > 1 else name: law for i, (name, law) in enumerate(found)}


__all__ = ["Listener", "Trained", "evaluate", "load", "profile", "run"]
