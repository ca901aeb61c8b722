"""From a recipe to a trained model, a table and a report, in a folder that can be left and come back to at any time."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import torch

from invkit.data.base import Images
from invkit.degradation import Degradation
from invkit.device import pick_device, set_determinism
from invkit.diffusion.familiar import warning
from invkit.diffusion.model import ConditionalModel
from invkit.distributed import World, join
from invkit.errors import DataError, Interrupted, PluginError, RecipeError
from invkit.evaluation import Evaluation, evaluate_rows
from invkit.files import write_atomic
from invkit.fitting import opened, train
from invkit.grid import Grid
from invkit.joining import joined
from invkit.keys import Keys
from invkit.listener import Listener, Noted
from invkit.lock import locked
from invkit.partial import Partial
from invkit.plugins import Registry
from invkit.priors import priors
from invkit.recipe import Recipe
from invkit.reconstruct import Method, Reconstructor, Sources
from invkit.report import write_report
from invkit.resolve import plain
from invkit.runfolder import RunFolder, decisive, environment, gathered, without_secrets
from invkit.signals import Stop, stop_requests
from invkit.smoke import shrunk
from invkit.stored import SAID, evaluate_saved, saved_bytes
from invkit.trained import Trained, evaluated
from invkit.training import Problem, Trainer, as_grid, build_model

FREE_OF_SAVED = ("eval.metrics", "eval.paired_to")
TRAINED = ("model", "diffusion", "train")  # sections of a recipe that its weights are trained with
NOTICED = 128  # test pictures that are looked at for whether they are like those of the training


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
    from_saved: bool = False,
) -> dict[str, Any]:
    """The table of a run, computed if it is not there yet; `registry` as in `load_recipe`.

    Overrides of `eval` and `sample` re-do the run's table; with any other (`degradation`, `noise`, `data`) the table is
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
        if any(text.split("=")[0].split(".")[0] not in ("eval", "sample") for text in overrides):
            return _rows(recipe, folder, trained, loaded, listener, stop, world).table
        fingerprint = _fingerprint(decisive(recipe), _weights_sha256(trained.model, *loaded.values()))
        if (table := _saved(folder, fingerprint, world)) is not None:  # nothing is written: no lock
            return table
        with locked(folder.path) if world.first else nullcontext():
            return _evaluate(recipe, folder, trained, loaded, listener, stop, world)


def _from_saved(folder: RunFolder, recipe: Recipe, overrides: Sequence[str], device: torch.device) -> dict[str, Any]:
    """See `invkit.stored`; what a stored picture is cannot be changed, only what is measured of it."""
    for text in overrides:
        if not text.split("=")[0].startswith(FREE_OF_SAVED):
            raise RecipeError(f"{text}: with --from-saved only {', '.join(FREE_OF_SAVED)} can be changed")
    try:
        table = json.loads((folder.eval / "table.json").read_text("utf-8"))
        whole = table["protocol"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder.path} has no table yet; `invkit eval {folder.path}` makes it") from None
    laws = _laws(recipe)
    found = joined(
        evaluate_saved(folder.eval, table, laws, recipe.noise, recipe.eval, device, recipe.metrics),
        whole["degradation"],
    )
    part = found.table["protocol"]
    note = (
        f"from stored reconstructions: {part['images']} of {whole['images']} pictures, "
        f"{part['samples']} of {whole['samples']} samples"
    )
    return {**found.table, "protocol": {**part, "from_saved": note}, "notes": [note]}


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


def _weights_sha256(*models: ConditionalModel) -> str:
    digest = hashlib.sha256()
    for model in models:
        for name, p in sorted(model.named_parameters()):
            digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(*parts: object) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


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
    weights = _weights_sha256(trained.model)
    # What a table is a function of: all weights, and the recipe but for how they came about.
    every = _weights_sha256(trained.model, *loaded.values())
    stamp, fingerprint = folder.eval / "done.json", _fingerprint(decisive(recipe), every)
    if (table := _saved(folder, fingerprint, world)) is not None:
        listener.say(f"everything is done: the table and the report are in {folder.path}")
        return table
    made_by = environment(recipe, str(trained.device))
    shelf = Partial(folder.eval / "partial", _fingerprint(gathered(recipe), every, made_by))
    if world.first:
        stamp.unlink(missing_ok=True)
        shelf.open()
    result = _rows(recipe, folder, trained, loaded, listener, stop, world, shelf)
    checkpoint = {"step": trained.step, "weights_sha256": weights}
    result.table["protocol"]["checkpoint"] = checkpoint
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record, "evaluated": {**checkpoint, **made_by}})
        write_report(folder.path, result, record)
        write_atomic(stamp, json.dumps({"fingerprint": fingerprint}))
        shelf.remove()
    return result.table


def _rows(
    recipe: Recipe, folder: RunFolder, trained: Trained, loaded: Mapping[str, ConditionalModel], listener: Listener,
    stop: Stop, world: World, shelf: Partial | None = None,
) -> Evaluation:  # fmt: skip
    laws = _laws(recipe)

    def progress(done: int, total: int) -> None:
        if stop():
            raise Interrupted("stopped during the evaluation; the same command goes on with it")
        listener.evaluated(len(results) * total + done, len(laws) * total)

    def training(grid: Grid, limit: int) -> Images:
        return recipe.data.open("train", grid, recipe.seed, limit)

    images = opened(recipe, "test", listener)
    sources = Sources(trained.model, recipe.sample, recipe.data.law(), loaded, training, tuple(images))
    methods = [_row(recipe, method, sources) for method in recipe.eval.methods]
    _weigh(
        folder,
        saved_bytes(methods, list(images), *recipe.eval.kept(min(recipe.eval.images, *map(len, images.values()))))
        * len(laws),
        listener,
    )
    if world.first:
        _notice(recipe, trained, images, laws)
    results: dict[str, Evaluation] = {}
    for name, law in laws.items():
        results[name] = evaluate_rows(
            methods, images, law, recipe.noise, recipe.eval, seed=recipe.seed, device=trained.device,
            run=folder.path.name, degradation_name=name, metrics=recipe.metrics, progress=progress, world=world,
            shelf=shelf,
        )  # fmt: skip
    settings = json.dumps(plain(recipe, recipe.registry)["degradation"])
    return joined(results, json.loads(without_secrets(settings)))


def _row(recipe: Recipe, method: Method, sources: Sources) -> Reconstructor:
    """The reconstructor of a row, which goes by the name that the recipe knows it by. Raises PluginError."""
    name, built = recipe.registry.called("method", method), method.build(sources)
    if built.name != name:
        raise PluginError(f"the reconstructor {name!r} calls itself {built.name!r}; both names have to be the same")
    return built


def _weigh(folder: RunFolder, size: int, listener: Listener) -> None:
    """Say how much will be stored, where it is much. Raises RecipeError where the disk has less room."""
    free = shutil.disk_usage(folder.path).free
    if size > free:
        raise RecipeError(
            f"eval.save: the reconstructions take about {size / 1e6:,.0f} MB, and {folder.path} has {free / 1e6:,.0f} MB; "
            "lower eval.save or eval.save_samples"
        )
    if size > SAID:
        listener.say(f"eval.save: about {size / 1e6:,.0f} MB of reconstructions are held in memory, then written")


def _notice(recipe: Recipe, trained: Trained, images: Mapping[Grid, Images], laws: Mapping[str, Degradation]) -> None:
    """Warn where more of the test pictures than chance would have look, once measured, unlike those of the training."""
    if (known := trained.model.constants.familiar) is None:
        return
    for (name, law), (grid, pictures) in product(laws.items(), images.items()):
        problem = Problem({grid: pictures}, law, recipe.noise, recipe.seed)
        values = []
        ids = range(min(recipe.eval.images, len(pictures), NOTICED))
        for first in range(0, len(ids), recipe.eval.batch):
            part = ids[first : first + recipe.eval.batch]
            keys = Keys.of(recipe.seed, "unlike", part, trained.device)
            values.append(trained.model.statistics(problem.measure(pictures[part].to(trained.device), keys, grid)))
        if said := warning(torch.cat(values), known, f"test pictures ({name}, {grid})", tolerated=0.01):
            warnings.warn(said, stacklevel=2)


def _laws(recipe: Recipe) -> dict[str, Degradation]:
    """What the table has rows for, by name; equal names are told apart by their places."""
    found = [(recipe.registry.name_of(named) or "", law) for named, law in recipe.degradation.table_rows()]
    names = [name for name, _ in found]
    return {f"{name}#{i}" if names.count(name) > 1 else name: law for i, (name, law) in enumerate(found)}


__all__ = ["Listener", "Trained", "evaluate", "load", "profile", "run"]
