"""`invkit export`: the model of a run as one file, which is opened wherever a run folder is."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from invkit.core.errors import DataError, RecipeError
from invkit.core.settings import named_paths
from invkit.experiment.calibration import DAMAGE, SECTIONS
from invkit.experiment.model_file import ModelFile, split_facts
from invkit.experiment.run_folder import RunFolder, flat, without_secrets
from invkit.experiment.trained_model import evaluated, load_weights, rebuild, unfinished, weights_sha256
from invkit.plugins.registry import Registry
from invkit.training.model_file import SUFFIX, write_model

# Of the record of a run: what its weights depend on, and what was computed with.
KEPT = (
    "commit", "device", "files", "initialised", "parameters", "plugin_code", "plugin_files", "plugins", "processes",
    "residual_scale", "seed", "trained_with", "training_seed", "versions",
)  # fmt: skip


def export(
    path: Path, file: Path, *, licence: str = "not stated", force: bool = False, registry: Registry | None = None
) -> tuple[ModelFile, str | None]:
    """Write the model of a run to `file`; returns it as it is read back, and a note if the training is not finished.

    It holds the averaged weights in half precision, the constants, the resolved recipe, the record and the tables of the run.
    Raises RecipeError if the file exists, unless `force`.
    """
    if file.suffix != SUFFIX or file.is_dir():
        raise RecipeError(f"{file}: the name of a model file ends in {SUFFIX}; give such a name")
    if file.exists() and not force:
        raise RecipeError(f"{file} exists; give another name, or --force to replace it")
    folder = RunFolder.find(path)
    recipe = folder.recipe(registry=registry)
    checkpoint = evaluated(folder, recipe.eval.checkpoint == "best")
    if checkpoint is None:
        raise DataError(f"{folder.given} has no checkpoint yet; `invkit run` with its recipe resumes the training")
    model = rebuild(recipe, checkpoint)
    load_weights(model, checkpoint.tensors["average"])  # checks that they fit
    rounded = {name: value.half().float() for name, value in checkpoint.tensors["average"].items()}
    split, digests = split_facts(folder.recorded_split())
    tables = _evaluations(folder, weights_sha256(checkpoint.tensors["average"]), weights_sha256(rounded))
    paths = named_paths(recipe)
    meta = {
        "recipe": recipe.portable(), "paths": list(paths), "record": _record(folder), "licence": licence, "split": split,
        "images_seen": checkpoint.step * recipe.train.batch, "seconds": checkpoint.meta.get("seconds", 0.0),
        "evaluations": list(tables),
    }  # fmt: skip
    meta = _without_folders(meta, paths.values())
    tensors = {key: checkpoint.tensors[key] for key in ("average", "constants")}
    write_model(file, checkpoint.step, tensors | ({"split": digests} if split else {}), meta)
    written = ModelFile.find(file)
    assert written is not None
    return written, unfinished(recipe, folder)


def _record(folder: RunFolder) -> dict[str, Any]:
    """The part of the record that a model file keeps."""
    record = folder.record()
    return {key: record[key] for key in KEPT if key in record}


def _evaluations(folder: RunFolder, weights: str, rounded: str) -> Iterator[dict[str, Any]]:
    """Stamp and table of the run's own evaluation, then what others with the same data add: calibrated factors of the model.

    Only evaluations of these weights count; the digest of the weights becomes that of the rounded ones.
    """
    if folder.model:
        yield from ({"stamp": stamp, "table": table} for stamp, table in folder.model.evaluations())
        return
    own = flat(folder.settings)
    for place in (folder.eval, *sorted(folder.eval.glob("*/"))):
        with suppress(*DAMAGE):
            stamp, table = (json.loads((place / name).read_text("utf-8")) for name in ("done.json", "table.json"))
            checkpoint, settings = table["protocol"]["checkpoint"], stamp["settings"]
            methods = [{key: one.get(key) for key in ("name", "sample")} for one in settings["eval.methods"]]
            settings = {key: settings[key] for key in settings if key.split(".")[0] in (*SECTIONS, "sample")}
            same = all(settings[key] == own.get(key) for key in settings if not key.startswith("sample."))
            if not same or checkpoint["weights_sha256"] != weights:
                continue
            checkpoint["weights_sha256"] = rounded
            if place != folder.eval:
                factors = [one for one in table["calibration"] if one["method"].partition("#")[0] == "model"]
                table = {"protocol": {"checkpoint": checkpoint}, "calibration": factors}
            yield {"stamp": {**stamp, "settings": settings | {"eval.methods": methods}}, "table": table}


def _without_folders(facts: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Facts with the last part of each path only."""
    text = json.dumps(facts)
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(json.dumps(path)[1:-1], json.dumps(Path(path).name)[1:-1])
    return json.loads(without_secrets(text))
