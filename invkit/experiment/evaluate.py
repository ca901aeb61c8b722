"""The evaluation of a run: its table and report, computed unless they are up to date."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch

from invkit.core.distributed import World
from invkit.core.errors import Interrupted, PluginError, RecipeError
from invkit.core.files import write_atomic
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.signals import Stop
from invkit.data.base import Images
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.out_of_distribution import warning
from invkit.evaluation.cache import Partial
from invkit.evaluation.combine import joined
from invkit.evaluation.evaluator import Evaluation, evaluate_rows
from invkit.evaluation.report.page import write_report
from invkit.evaluation.saved_samples import SAID, saved_bytes
from invkit.experiment.callbacks import Listener
from invkit.experiment.run_folder import RunFolder, decisive, environment, gathered, without_secrets
from invkit.experiment.trained_model import Trained
from invkit.physics.degradation import Degradation
from invkit.recipe.recipe import CHOICES, Recipe
from invkit.recipe.resolve import plain
from invkit.reconstructors import Method, Reconstructor, Sources
from invkit.training.problem import Problem

NOTICED = 128  # test pictures that are looked at for whether they are like those of the training


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

    images = recipe.open_images("test", listener.say)
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
    settings = json.dumps(plain(recipe, recipe.registry, CHOICES)["degradation"])
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
            measurement = problem.measure(pictures[part].to(trained.device), keys, grid)
            values.append(trained.model.statistics(measurement, trained.model.initial_estimate(measurement)))
        if said := warning(torch.cat(values), known, f"test pictures ({name}, {grid})", tolerated=0.01):
            warnings.warn(said, stacklevel=2)


def _laws(recipe: Recipe) -> dict[str, Degradation]:
    """What the table has rows for, by name; equal names are told apart by their places."""
    found = [(recipe.registry.name_of(named) or "", law) for named, law in recipe.degradation.table_rows()]
    names = [name for name, _ in found]
    return {f"{name}#{i}" if names.count(name) > 1 else name: law for i, (name, law) in enumerate(found)}
