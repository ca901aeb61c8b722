"""Evaluation of a run: its table and report, computed unless they are up to date."""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
import yaml

from invkit.core.errors import Interrupted, PluginError, RecipeError, blamed
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
from invkit.experiment.priors import check_priors
from invkit.experiment.provenance import environment
from invkit.experiment.run_folder import cache_settings, without_secrets
from invkit.experiment.session import Session, protocols
from invkit.experiment.stored_table import Stamp, fingerprint, stored_table
from invkit.experiment.trained_model import Trained, unfinished, weights_sha256
from invkit.experiment.trained_operator import foreign_operator
from invkit.experiment.unlearned import unlearned_note
from invkit.physics.degradations import Nothing
from invkit.recipe.citations import citations
from invkit.recipe.recipe import Recipe
from invkit.recipe.resolve import plain
from invkit.reconstructors import Method, Reconstructor, Sources
from invkit.reconstructors.base import Renamed
from invkit.reconstructors.model import ModelMethod
from invkit.training.problem import Problem

CHECKED = 128  # largest number of test images checked for being out of distribution
UNCLEAN = (
    "train.clean=false: model and fitted prior were trained without clean images, from one measurement of each training image; "
    "the test images of this table are clean"
)
Priors = Mapping[str, ConditionalModel]  # models of the zero-shot methods, by run folder


def evaluate_run(session: Session, trained: Trained, priors: Priors) -> dict[str, Any]:
    """The table of a run; computed with the report, unless the folder has one of the same weights, settings and plugins."""
    recipe, folder, world = session.recipe, session.folder, session.world
    stamp = stamp_of(session, trained, priors)
    table, reason = stored_table(folder, stamp, world)
    if table is not None:
        session.listener.say(f"up to date: the table and the report are in {folder.report.parent}")
        return table
    if reason:
        session.listener.say(f"the table in {folder.eval} is replaced: {reason}")
    versions = environment(recipe, str(trained.device))
    dependencies = cache_settings(recipe), stamp.weights, versions, stamp.contents
    cache = ResultCache(folder.eval / "partial", fingerprint(*dependencies))
    if world.first:
        (folder.eval / "done.json").unlink(missing_ok=True)
        cache.open()
    result = evaluate_methods(session, trained, priors, cache)
    checkpoint = {"step": trained.step, "weights_sha256": weights_sha256(trained.model)}
    result.table["protocol"]["checkpoint"] = checkpoint
    if stamp.note:
        result.table.setdefault("notes", []).append(stamp.note)
    if world.first:
        result.write(folder.eval)
        record = folder.update_record({"evaluation": result.record, "evaluated": {**checkpoint, **versions}})
        write_report(folder.report, folder.path, result, record, citations(recipe))
        stamp.write(folder)
        cache.remove()
    return result.table


def stamp_of(session: Session, trained: Trained, priors: Priors) -> Stamp:
    """What a table that is computed now depends on."""
    note = unfinished(session.recipe, session.folder)
    return Stamp.of(session.recipe, weights_sha256(trained.model, *priors.values()), note)


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
    sources = Sources(
        trained.model, recipe.sample, recipe.data.law(), priors, training if recipe.train.clean else None, tuple(images)
    )
    check_priors(recipe, sources, images)
    methods, notes = build_all(recipe, sources)
    if not recipe.train.clean:
        notes.append(UNCLEAN)
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
    result = combine_degradations(results, json.loads(without_secrets(settings)))
    if any(isinstance(method, ModelMethod) for method in recipe.eval.methods):
        notes += filter(None, [unlearned_note(trained, images, all_protocols)])
    if notes:
        result.table.setdefault("notes", []).extend(notes)
    return result


def build_all(recipe: Recipe, sources: Sources) -> tuple[list[Reconstructor], list[str]]:
    """The methods, numbered by position where one occurs several times, and a note on the settings of each of these."""
    chosen = recipe.eval.methods
    built, notes = [build_method(recipe, method, sources) for method in chosen], []
    names = [method.name for method in built]
    for i, (reconstructor, method) in enumerate(zip(built, chosen, strict=True)):
        if names.count(reconstructor.name) > 1:
            built[i] = Renamed(f"{reconstructor.name}#{i}", reconstructor)
            settings = plain(recipe, recipe.registry)["eval"]["methods"][i]
            shown = ", ".join(f"{key}={_short(settings[key])}" for key in settings if key in method.model_fields_set)
            notes.append(f"{built[i].name}: {shown or 'settings as by default'}")
    return built, notes


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()


def build_method(recipe: Recipe, method: Method, sources: Sources) -> Reconstructor:
    """Build a method. Raises PluginError if the reconstructor has another name than the recipe uses."""
    name = recipe.registry.registered_name("method", method)
    with blamed(f"the method {name!r}", method):
        built = method.build(sources)
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
    """Warn of operators of another kind than in training, and of more unusual measurements than expected by chance."""
    if isinstance(trained.recipe.degradation, Nothing):  # a prior, which was trained without measurements
        return
    ranges = trained.model.constants.training_ranges
    for protocol, (grid, source) in product(all_protocols, images.items()):
        if message := foreign_operator(
            trained.recipe.degradation, trained.degradation, trained.reference, protocol.measure(source, [0])[1]
        ):
            warnings.warn(message, stacklevel=2)
        if ranges is None:
            continue
        problem = Problem({grid: source}, protocol.degradation, protocol.noise, protocol.seed)
        values = []
        ids = range(min(protocol.settings.images, len(source), CHECKED))
        for first in range(0, len(ids), protocol.batch):
            part = ids[first : first + protocol.batch]
            keys = Keys.of(protocol.seed, "unlike", part, trained.device)
            measurement = problem.measure(source[part].to(trained.device), keys, grid)
            values.append(trained.model.statistics(measurement, trained.model.initial_estimate(measurement)))
        name = f"test images ({protocol.degradation_name}, {grid})"
        if message := warning(torch.cat(values), ranges, name, tolerated=0.01):
            warnings.warn(message, stacklevel=2)
