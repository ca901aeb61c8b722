"""Evaluation of a run: its table and report, computed unless they are up to date."""

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

CHECKED = 128  # largest number of test images checked for being out of distribution
Priors = Mapping[str, ConditionalModel]  # models of the zero-shot methods, by run folder


def weights_sha256(*models: ConditionalModel) -> str:
    """SHA-256 of the names and values of all parameters."""
    digest = hashlib.sha256()
    for model in models:
        for name, p in sorted(model.named_parameters()):
            digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def fingerprint(*parts: object) -> str:
    """SHA-256 of JSON-compatible data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def stored_table(recipe: Recipe, folder: RunFolder, weights: str, world: World) -> dict[str, Any] | None:
    """The stored table, read by the first process; None if it is damaged or was computed with other settings or weights.

    `weights` is the digest of all weights, including those of priors.
    """
    table, stamp = None, {"fingerprint": fingerprint(table_settings(recipe), weights)}
    try:
        if world.first and json.loads((folder.eval / "done.json").read_text("utf-8")) == stamp:
            table = json.loads((folder.eval / "table.json").read_text("utf-8"))
    except (OSError, ValueError):
        pass
    return json.loads(world.gather(json.dumps(table).encode())[0])


def evaluate_run(session: Session, trained: Trained, priors: Priors) -> dict[str, Any]:
    """The table of a run; computed with the report, unless the folder has a table of the same weights and settings."""
    recipe, folder, world = session.recipe, session.folder, session.world
    weights = weights_sha256(trained.model, *priors.values())
    if (table := stored_table(recipe, folder, weights, world)) is not None:
        session.listener.say(f"up to date: the table and the report are in {folder.path}")
        return table
    stamp, versions = folder.eval / "done.json", environment(recipe, str(trained.device))
    cache = ResultCache(folder.eval / "partial", fingerprint(cache_settings(recipe), weights, versions))
    if world.first:
        stamp.unlink(missing_ok=True)
        cache.open()
    result = evaluate_methods(session, trained, priors, cache)
    checkpoint = {"step": trained.step, "weights_sha256": weights_sha256(trained.model)}
    result.table["protocol"]["checkpoint"] = checkpoint
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record, "evaluated": {**checkpoint, **versions}})
        write_report(folder.path, result, record)
        write_atomic(stamp, json.dumps({"fingerprint": fingerprint(table_settings(recipe), weights)}))
        cache.remove()
    return result.table


def evaluate_methods(
    session: Session, trained: Trained, priors: Priors, cache: ResultCache | None = None
) -> Evaluation:
    """Evaluate the methods of the recipe on its test images, for each of its degradations."""
    recipe, folder = session.recipe, session.folder
    all_protocols = protocols(recipe, folder.name, trained.device)

    def progress(done: int, total: int) -> None:
        if session.stop():
            raise Interrupted("stopped during the evaluation; the same command resumes it")
        session.listener.evaluated(len(results) * total + done, len(all_protocols) * total)

    def training(grid: Grid, limit: int) -> Images:
        return recipe.data.open("train", grid, recipe.seed, limit)

    images = recipe.open_images("test", session.listener.say)
    sources = Sources(trained.model, recipe.sample, recipe.data.law(), priors, training, tuple(images))
    methods = [_build(recipe, method, sources) for method in recipe.eval.methods]
    count = min(recipe.eval.images, *map(len, images.values()))
    _check_disk(session, len(all_protocols) * saved_bytes(methods, list(images), *recipe.eval.kept(count)))
    if session.world.first:
        _warn_out_of_distribution(trained, images, all_protocols)
    results: dict[str, Evaluation] = {}
    for protocol in all_protocols:
        results[protocol.degradation_name] = evaluate_rows(
            methods, images, protocol, progress=progress, world=session.world, cache=cache
        )
    settings = json.dumps(plain(recipe, recipe.registry)["degradation"])
    return combine_degradations(results, json.loads(without_secrets(settings)))


def _build(recipe: Recipe, method: Method, sources: Sources) -> Reconstructor:
    """Build a method. Raises PluginError if the reconstructor has another name than the recipe uses."""
    name, built = recipe.registry.registered_name("method", method), method.build(sources)
    if built.name != name:
        raise PluginError(
            f"the reconstructor of the method {name!r} has the name {built.name!r}; both names must be equal"
        )
    return built


def _check_disk(session: Session, size: int) -> None:
    """Report the size of the stored reconstructions if it is large. Raises RecipeError if the disk has less free space."""
    path = session.folder.path
    free = shutil.disk_usage(path).free
    if size > free:
        raise RecipeError(
            f"eval.save: the reconstructions need about {size / 1e6:,.0f} MB, and {path} has {free / 1e6:,.0f} MB free; "
            "lower eval.save or eval.save_samples"
        )
    if size > LARGE:
        session.listener.say(
            f"eval.save: about {size / 1e6:,.0f} MB of reconstructions are kept in memory, then written"
        )


def _warn_out_of_distribution(
    trained: Trained, images: Mapping[Grid, Images], all_protocols: Sequence[Protocol]
) -> None:
    """Warn if more measurements of test images are out of distribution than expected by chance."""
    if (ranges := trained.model.constants.training_ranges) is None:
        return
    for protocol, (grid, source) in product(all_protocols, images.items()):
        problem = Problem({grid: source}, protocol.degradation, protocol.noise, protocol.seed)
        values = []
        ids = range(min(protocol.settings.images, len(source), CHECKED))
        for first in range(0, len(ids), protocol.settings.batch):
            part = ids[first : first + protocol.settings.batch]
            keys = Keys.of(protocol.seed, "unlike", part, trained.device)
            measurement = problem.measure(source[part].to(trained.device), keys, grid)
            values.append(trained.model.statistics(measurement, trained.model.initial_estimate(measurement)))
        name = f"test images ({protocol.degradation_name}, {grid})"
        if message := warning(torch.cat(values), ranges, name, tolerated=0.01):
            warnings.warn(message, stacklevel=2)
