"""The evaluation of a run: its table and report, computed unless they are up to date."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch

from invkit.core.distributed import World
from invkit.core.errors import Interrupted, PluginError, RecipeError
from invkit.core.files import write_atomic
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.out_of_distribution import warning
from invkit.evaluation.cache import ResultCache
from invkit.evaluation.combine import combine_degradations
from invkit.evaluation.evaluator import Evaluation, evaluate_rows
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.report.page import write_report
from invkit.evaluation.saved_samples import LARGE, saved_bytes
from invkit.experiment.run_folder import RunFolder, cache_settings, environment, table_settings, without_secrets
from invkit.experiment.session import Session, protocols
from invkit.experiment.trained_model import Trained
from invkit.recipe.recipe import Recipe
from invkit.recipe.resolve import plain
from invkit.reconstructors import Method, Reconstructor, Sources
from invkit.training.problem import Problem

CHECKED = 128  # test images that are checked for being out of distribution
Priors = Mapping[str, ConditionalModel]  # the models behind the zero-shot rows, by run folder


def weights_sha256(*models: ConditionalModel) -> str:
    digest = hashlib.sha256()
    for model in models:
        for name, p in sorted(model.named_parameters()):
            digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def fingerprint(*parts: object) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def stored_table(recipe: Recipe, folder: RunFolder, every: str, world: World) -> dict[str, Any] | None:
    """The run's table, as the first process reads it; None where it is of other settings or weights, or damaged.

    `every` is the digest of all weights, those of priors included.
    """
    table, stamp = None, {"fingerprint": fingerprint(table_settings(recipe), every)}
    try:
        if world.first and json.loads((folder.eval / "done.json").read_text("utf-8")) == stamp:
            table = json.loads((folder.eval / "table.json").read_text("utf-8"))
    except (OSError, ValueError):
        pass
    return json.loads(world.gather(json.dumps(table).encode())[0])


def evaluate_run(session: Session, trained: Trained, priors: Priors) -> dict[str, Any]:
    """The run's table and report, computed unless those in the folder are of these weights and settings."""
    recipe, folder, world = session.recipe, session.folder, session.world
    every = weights_sha256(trained.model, *priors.values())
    if (table := stored_table(recipe, folder, every, world)) is not None:
        session.listener.say(f"everything is done: the table and the report are in {folder.path}")
        return table
    stamp, made_by = folder.eval / "done.json", environment(recipe, str(trained.device))
    cache = ResultCache(folder.eval / "partial", fingerprint(cache_settings(recipe), every, made_by))
    if world.first:
        stamp.unlink(missing_ok=True)
        cache.open()
    result = evaluate_methods(session, trained, priors, cache)
    checkpoint = {"step": trained.step, "weights_sha256": weights_sha256(trained.model)}
    result.table["protocol"]["checkpoint"] = checkpoint
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record, "evaluated": {**checkpoint, **made_by}})
        write_report(folder.path, result, record)
        write_atomic(stamp, json.dumps({"fingerprint": fingerprint(table_settings(recipe), every)}))
        cache.remove()
    return result.table


def evaluate_methods(
    session: Session, trained: Trained, priors: Priors, cache: ResultCache | None = None
) -> Evaluation:
    """The recipe's methods on its test images, for each of its degradations."""
    recipe, folder = session.recipe, session.folder
    every = protocols(recipe, folder.path.name, trained.device)

    def progress(done: int, total: int) -> None:
        if session.stop():
            raise Interrupted("stopped during the evaluation; the same command resumes it")
        session.listener.evaluated(len(results) * total + done, len(every) * total)

    def training(grid: Grid, limit: int) -> Images:
        return recipe.data.open("train", grid, recipe.seed, limit)

    images = recipe.open_images("test", session.listener.say)
    sources = Sources(trained.model, recipe.sample, recipe.data.law(), priors, training, tuple(images))
    methods = [_build(recipe, method, sources) for method in recipe.eval.methods]
    count = min(recipe.eval.images, *map(len, images.values()))
    _check_disk(session, len(every) * saved_bytes(methods, list(images), *recipe.eval.kept(count)))
    if session.world.first:
        _warn_out_of_distribution(trained, images, every)
    results: dict[str, Evaluation] = {}
    for protocol in every:
        results[protocol.degradation_name] = evaluate_rows(
            methods, images, protocol, progress=progress, world=session.world, cache=cache
        )
    settings = json.dumps(plain(recipe, recipe.registry)["degradation"])
    return combine_degradations(results, json.loads(without_secrets(settings)))


def _build(recipe: Recipe, method: Method, sources: Sources) -> Reconstructor:
    """The reconstructor of a row, under the name that the recipe uses. Raises PluginError."""
    name, built = recipe.registry.registered_name("method", method), method.build(sources)
    if built.name != name:
        raise PluginError(f"the reconstructor {name!r} calls itself {built.name!r}; both names have to be the same")
    return built


def _check_disk(session: Session, size: int) -> None:
    """Say how much will be stored, where it is much. Raises RecipeError where the disk has less room."""
    path = session.folder.path
    free = shutil.disk_usage(path).free
    if size > free:
        raise RecipeError(
            f"eval.save: the reconstructions take about {size / 1e6:,.0f} MB, and {path} has {free / 1e6:,.0f} MB; "
            "lower eval.save or eval.save_samples"
        )
    if size > LARGE:
        session.listener.say(
            f"eval.save: about {size / 1e6:,.0f} MB of reconstructions are held in memory, then written"
        )


def _warn_out_of_distribution(trained: Trained, images: Mapping[Grid, Images], every: Sequence[Protocol]) -> None:
    """Warn where more measurements of test images are out of distribution than chance explains."""
    if (known := trained.model.constants.training_ranges) is None:
        return
    for protocol, (grid, opened) in product(every, images.items()):
        problem = Problem({grid: opened}, protocol.degradation, protocol.noise, protocol.seed)
        values = []
        ids = range(min(protocol.settings.images, len(opened), CHECKED))
        for first in range(0, len(ids), protocol.settings.batch):
            part = ids[first : first + protocol.settings.batch]
            keys = Keys.of(protocol.seed, "unlike", part, trained.device)
            measurement = problem.measure(opened[part].to(trained.device), keys, grid)
            values.append(trained.model.statistics(measurement, trained.model.initial_estimate(measurement)))
        name = f"test pictures ({protocol.degradation_name}, {grid})"
        if said := warning(torch.cat(values), known, name, tolerated=0.01):
            warnings.warn(said, stacklevel=2)
