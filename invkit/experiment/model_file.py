"""Models that are one file: exported by `invkit export`, or shipped with invkit; opened like run folders."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invkit.core.errors import DataError, RecipeError, suggest
from invkit.core.settings import PRETRAINED
from invkit.data.split_record import SCHEMA as SPLIT
from invkit.training.checkpoint import Checkpoint
from invkit.training.model_file import SUFFIX, as_bytes, from_bytes, read_model

SHIPPED = Path(__file__).parent.parent / "pretrained"
SUMS = "SHA256SUMS"  # in the format of `sha256sum`


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file: averaged weights, constants, and the facts of its run."""

    given: str  # as the user names it: a path, or pretrained:NAME
    path: Path
    checkpoint: Checkpoint

    @classmethod
    def find(cls, given: Path) -> "ModelFile | None":
        """The model file of that name; None if there is none.

        Raises DataError if it is damaged, and RecipeError for an unknown name of a shipped model.
        """
        name = str(given)
        if name.startswith(PRETRAINED):
            path = shipped_file(name.removeprefix(PRETRAINED))
        elif not given.exists() or given.is_dir():
            return None
        else:
            path = given
        model = cls(name, path, read_model(path))
        try:
            known = isinstance(model.recipe, str) and isinstance(model.record, dict)
            _ = model.split, list(model.evaluations()), model.checkpoint.meta["licence"]
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            known = False
        if not known:
            raise DataError(f"{given} has facts of another structure; `invkit export RUN FILE` writes it again")
        return model

    @property
    def name(self) -> str:
        """The name without folder and suffix."""
        return self.path.stem

    @property
    def sha256(self) -> str:
        """Digest of the contents of the file."""
        return self.checkpoint.meta["sha256"]

    @property
    def recipe(self) -> str:
        """The resolved recipe as YAML."""
        return self.checkpoint.meta["recipe"]

    @property
    def record(self) -> dict[str, Any]:
        """The record of the run; the files of its recipe are looked for beside this file."""
        record = self.checkpoint.meta["record"]
        files = record.get("files", {}).items()
        return {**record, "files": {key: {**file, "path": self._beside(file["path"])} for key, file in files}}

    @property
    def split(self) -> dict[str, Any] | None:
        """The record of the split, with the training images only, by their digests; None if the run has none."""
        facts, rows = self.checkpoint.meta["split"], self.checkpoint.tensors.get("split", {}).get("train")
        if facts is None or rows is None:
            return None
        return {**facts, "train": [["", "", digest, ""] for digest in from_bytes(rows)], "test": []}

    def _beside(self, name: str) -> str:
        return os.path.abspath(self.path.parent / name)

    def evaluations(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """The stamp and the table of each evaluation of the run, the run's own first."""
        for one in self.checkpoint.meta["evaluations"]:
            settings = dict(one["stamp"]["settings"])
            settings |= {key: self._beside(settings[key]) for key in self.checkpoint.meta["paths"] if settings.get(key)}
            yield {**one["stamp"], "settings": settings}, one["table"]


def split_facts(record: dict[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What a model file keeps of a recorded split: facts, and the digests of the training images as a tensor."""
    if record is None or record.get("schema") != SPLIT:
        return None, {}
    digests = [item[2] for item in record["train"] if item[2]]
    facts = {key: record[key] for key in ("schema", "description", "kind", "channels")} | {"notes": []}
    return facts, {"train": as_bytes(digests)}


def shipped() -> dict[str, str]:
    """SHA-256 of the models that ship with invkit, by name."""
    try:
        lines = (SHIPPED / SUMS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = [line.split() for line in lines if line.strip()]
    return {name.lstrip("*").removesuffix(SUFFIX): digest for digest, name in pairs}


def shipped_file(name: str) -> Path:
    """The path of a shipped model, whose SHA-256 is checked. Raises RecipeError for an unknown name, DataError if it is damaged."""
    known = shipped()
    if name not in known:
        raise RecipeError(
            f"{PRETRAINED}{name}: there is no such model{suggest(name, known)}; `invkit models` lists them"
        )
    path = SHIPPED / f"{name}{SUFFIX}"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{PRETRAINED}{name}: {path} cannot be read ({error.strerror}); install invkit again") from None
    if digest != known[name]:
        raise DataError(
            f"{PRETRAINED}{name}: {path} is damaged, its SHA-256 is not that of {SUMS}; install invkit again"
        )
    return path
