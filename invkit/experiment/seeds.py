"""Runs of one recipe with several seeds of the training, in one folder, and their joint table."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from invkit.core.distributed import is_first_process
from invkit.core.errors import DataError, RecipeError
from invkit.core.files import make_folder, write_json
from invkit.evaluation.evaluator import JACKKNIFE, Evaluation
from invkit.evaluation.report.page import write_report
from invkit.evaluation.seeds import LEAST, Jackknife, joint_table
from invkit.evaluation.table import check_names
from invkit.experiment.callbacks import Listener
from invkit.experiment.run import evaluation, run
from invkit.experiment.run_folder import RUNS, RunFolder, seed_runs
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe


def run_seeds(
    recipe: Recipe,
    count: int,
    out: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    smoke: bool = False,
    listener: Listener | None = None,
) -> Path:
    """Train and evaluate a recipe with `count` seeds of the training, from its own on; returns the folder of the runs.

    Each run is in `seed-N`; finished ones are kept, an interrupted one is resumed. Data, measurements and everything else in the
    evaluation have the seed of the recipe. Raises what `run` raises, and RecipeError for a folder that holds another run.
    """
    folder = out or RUNS / (recipe.name + "-smoke" * smoke)
    listener = listener if listener and is_first_process() else Listener()
    if count < LEAST:
        raise RecipeError(f"--seeds {count}: at least {LEAST} are needed; leave it out for one")
    if (folder / "resolved.yaml").exists():
        raise RecipeError(f"{folder} holds a run of one seed; give another folder with --out DIR")
    for i, seed in enumerate(range(recipe.training_seed, recipe.training_seed + count)):
        listener.say(f"seed {seed} ({i + 1} of {count}): {folder / f'seed-{seed}'}")
        train = recipe.train.model_copy(update={"seed": seed})
        run(recipe.model_copy(update={"train": train}), folder / f"seed-{seed}", device, fresh, smoke, listener)
    if is_first_process():
        _joint(folder, [RunFolder(path) for path in seed_runs(folder)])
    return folder


def any_evaluation(
    path: Path | RunFolder,
    overrides: Sequence[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
    registry: Registry | None = None,
    from_saved: bool = False,
    name: str | None = None,
) -> tuple[dict[str, Any], RunFolder]:
    """As `evaluation`, also for a folder of runs with several seeds: their joint table, and that folder."""
    found = path if isinstance(path, RunFolder) or path.exists() or path.is_absolute() else RUNS / path
    if (
        isinstance(found, RunFolder)
        or from_saved
        or (found / "resolved.yaml").exists()
        or not (runs := seed_runs(found))
    ):
        return evaluation(path, overrides, device, listener, registry, from_saved, name)
    folders = [evaluation(one, overrides, device, listener, registry, name=name)[1] for one in runs]
    return _joint(found, folders) if is_first_process() else ({}, RunFolder(found))


def check_columns(
    columns: Sequence[str], runs: Sequence[Path | RunFolder], overrides: Sequence[str], registry: Registry
) -> None:
    """Raises RecipeError for a name that is no metric of the recipe of any of the runs, before anything is computed."""
    names: dict[str, None] = {}
    for given in runs:
        path = given if isinstance(given, RunFolder) or given.exists() or given.is_absolute() else RUNS / given
        one = (
            path if isinstance(path, RunFolder) or (path / "resolved.yaml").exists() else (seed_runs(path) or [path])[0]
        )
        folder = one if isinstance(one, RunFolder) else RunFolder.find(one)
        names |= dict.fromkeys(folder.recipe(tuple(overrides), registry).metrics)
    check_names(columns, list(names))


def _joint(path: Path, folders: Sequence[RunFolder]) -> tuple[dict[str, Any], RunFolder]:
    """Make the joint table of evaluations, and write it with a report into the same place within `path`."""
    seeds = [int(folder.path.name.rpartition("-")[2]) for folder in folders]
    tables = [folder.stored("table.json") for folder in folders]
    costs = [folder.stored("cost.json") for folder in folders]
    run_name = RunFolder(path).name
    table = joint_table(run_name, seeds, tables, [_jackknife(folder) for folder in folders])
    rows = [
        {**one[0], "run": run_name, "seconds_per_image": _mean([row["seconds_per_image"] for row in one])}
        for one in zip(*(cost["rows"] for cost in costs), strict=True)
    ]
    joint, own = RunFolder(path), folders[0].eval.relative_to(folders[0].path)
    joint = joint if own == Path("eval") else joint.with_evaluation(own.name)
    make_folder(joint.eval)
    result = Evaluation(table, {**costs[0], "rows": rows}, {}, [], {}, {})
    result.write_table(joint.eval)
    record = {"seeds": seeds, "runs": [folder.path.name for folder in folders]}
    write_json(joint.record_file, record)
    write_report(joint.report, path, result, record)
    return table, joint


def _jackknife(folder: RunFolder) -> Jackknife:
    file = folder.eval / JACKKNIFE
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError) as error:
        name = folder.eval.relative_to(folder.path)
        raise DataError(
            f"{file} cannot be read ({error}); delete {name / 'done.json'} there and `invkit eval {folder.path}` computes it again"
        ) from None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
