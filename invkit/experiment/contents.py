"""The contents of the files that a recipe names, by digest: a path alone does not tell what a run was made of."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from invkit.core.errors import DataError
from invkit.core.files import write_atomic
from invkit.core.settings import named_paths
from invkit.experiment.run_folder import RunFolder
from invkit.recipe.recipe import Recipe

Files = Mapping[str, Mapping[str, str]]  # path and SHA-256 by key path
TABLE_ONLY = ("eval", "log", "sample")  # sections of a recipe that a training does not depend on


def named_files(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Path and SHA-256 of each file that a setting names.

    Images are recorded by the data set, and the weights that a training starts from in `record.json`.
    """
    return {
        key: {"path": path, "sha256": digest}
        for key, path in named_paths(recipe).items()
        if key != "train.init"
        and not (key.startswith("data.") and recipe.data.records_split)
        and (digest := _sha256(Path(path)))
    }


def table_contents(recipe: Recipe) -> dict[str, str]:
    """Digests of all files and test images that a table depends on; unknown ones are left out."""
    found = {key: file["sha256"] for key, file in named_files(recipe).items()}
    tested = None if recipe.data.missing() else recipe.data.test_digest(recipe.seed)
    return found | ({"test images": tested} if tested else {})


def record_contents(folder: RunFolder, recipe: Recipe) -> None:
    """Record the split and the files of a run that begins; check those of one that has checkpoints.

    Raises DataError if a file that the weights depend on has other contents than in the training so far.
    """
    if folder.has_checkpoint:
        if changed := changed_files(folder, recipe):
            raise DataError(
                f"{folder.path}: {changed[0]} since this run began; restore the file, or train anew with --fresh or another "
                "--out DIR"
            )
        return
    files = {key: file for key, file in named_files(recipe).items() if key.split(".")[0] not in TABLE_ONLY}
    folder.update_record({"files": files})
    folder.split.unlink(missing_ok=True)
    if recipe.data.records_split:
        write_atomic(folder.split, json.dumps(recipe.data.record_split(recipe.seed)))


def changed_files(folder: RunFolder, recipe: Recipe) -> list[str]:
    """What has changed in the files that the training depends on, one text for each: "degradation.file (m.png) has changed"."""
    before: Files = folder.record().get("files", {})
    now = named_files(recipe)
    return [
        f"{key} ({file['path']}) has changed"
        for key, file in before.items()
        if key in now and now[key]["path"] == file["path"] and now[key]["sha256"] != file["sha256"]
    ]


def warn_of_changed_files(folder: RunFolder, recipe: Recipe) -> None:
    """Warn if the model of a run was trained with other contents of its files than they have now."""
    for changed in changed_files(folder, recipe):
        warnings.warn(
            f"{changed} since {folder.given} was trained with it; restore the file, or train again with --fresh",
            stacklevel=3,
        )


def _sha256(path: Path) -> str | None:
    """The SHA-256 of a file, or of the names and sizes of the files in a folder of data; None if there is none."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir() or (path / "resolved.yaml").exists():  # run folders are compared by their weights
        return None
    inside = [[p.relative_to(path).as_posix(), p.stat().st_size] for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256(json.dumps(inside).encode()).hexdigest()
