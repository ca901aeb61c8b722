"""Checkpoints: folders of safetensors files and a JSON manifest, written atomically.

A checkpoint is written to a temporary folder with a manifest of sizes and SHA-256, synced, and renamed; only then are
older ones pruned. A damaged one is reported, and the previous one is used. Files are not trusted: sizes, names and headers
are checked against each other before tensors are created.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from invkit.core.errors import DataError, NonFiniteError, first_line
from invkit.core.files import make_folder, sync_folder, write_synced

_NAME = re.compile(r"step-(\d{8,16})(\.old)?")  # `.old`: the previous one while the same step is saved again
_FILE = re.compile(r"[a-z]+\.safetensors")
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
_SCHEMA = "invkit.checkpoint/2"  # version 1 had no digest
_MANIFEST = 1 << 20  # bytes at most
_HEADER = 16 << 20
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)


@dataclass(frozen=True)
class Checkpoint:
    """A training state: tensors by file and name, and JSON metadata."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    meta: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    meta: Mapping[str, Any],
    *,
    keep: int = 2,
    score: float | None = None,
) -> Path:
    """Write `folder/step-XXXXXXXX` atomically, then delete all checkpoints except the last `keep` and the one of best score.

    A lower score is better; one that is not finite is ignored. Later steps are deleted too: training resumes from an
    earlier one only if they are damaged. If a tensor is not finite, raises NonFiniteError and saves nothing. If the disk
    fails, raises OSError and leaves the earlier checkpoints in place.
    """
    for part, group in tensors.items():
        if bad := not_finite(group):
            raise NonFiniteError(f"step {step}: {bad} of the {part} is not finite and was not saved")
    make_folder(folder)
    place, staged = folder / f"step-{step:08d}", folder / f".staged-{os.getpid()}"
    old = place.with_name(f"{place.name}.old")
    for leftover in folder.glob(".staged-*"):  # of a killed process
        shutil.rmtree(leftover)
    try:
        staged.mkdir()
        files = {}
        for name, group in tensors.items():
            data = save({key: value.detach().cpu().contiguous() for key, value in group.items()})
            file = f"{name}.safetensors"
            _check_header(file, data)  # write only what can be read
            write_synced(staged / file, data)
            files[file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        score = float(score) if score is not None and math.isfinite(score) else None
        manifest = {"schema": _SCHEMA, "step": step, "score": score, "files": files, "meta": dict(meta)}
        manifest["sha256"] = digest_of(manifest)
        text = json.dumps(manifest, indent=1, allow_nan=False).encode()
        assert len(text) <= _MANIFEST and all(map(_FILE.fullmatch, files))
        write_synced(staged / "manifest.json", text)
        sync_folder(staged)
        if place.exists():
            if old.exists():
                shutil.rmtree(old)
            place.rename(old)
        staged.rename(place)
    except BaseException:  # free the space, since the disk may be full
        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync_folder(folder)
    _prune(folder, place, keep)
    return place


def _prune(folder: Path, newest: Path, keep: int) -> None:
    steps = _steps(folder)
    earlier = [p for p in steps if _order(p)[0] < _order(newest)[0]]
    scores = _scores(steps)
    kept = {newest, *earlier[: keep - 1], *sorted(scores, key=lambda p: scores[p])[:1]}
    for i, place in enumerate(p for p in steps if p not in kept):
        place = place.rename(folder / f".staged-pruned-{i}-{os.getpid()}")  # so that no partly deleted one is read
        shutil.rmtree(place)


def not_finite(group: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with infinite or NaN values, or None."""
    return next((name for name, x in group.items() if x.is_floating_point() and not torch.isfinite(x).all()), None)


def _order(place: Path) -> tuple[int, bool]:
    """The step, and whether the folder is not an `.old` one; (-1, False) if it is no checkpoint."""
    match = _NAME.fullmatch(place.name)
    return (int(match[1]), not match[2]) if match else (-1, False)


def _steps(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    found = [p for p in folder.iterdir() if _order(p) >= (0, False) and p.is_dir()] if folder.is_dir() else []
    return sorted(found, key=_order, reverse=True)


def last_step(folder: Path) -> int:
    """The step of the last checkpoint in a folder, readable or not; -1 if there is none."""
    return _order(places[0])[0] if (places := _steps(folder)) else -1


def _scores(places: Iterable[Path]) -> dict[Path, float]:
    """The scores of the checkpoints with a readable manifest and a score."""
    found = {}
    for place in places:
        try:
            score = _manifest(place).get("score")
        except DAMAGE:
            continue
        if score is not None:
            found[place] = float(score)
    return found


def read_regular(path: Path, most: int) -> bytes:
    """Read a regular file; raises ValueError for a link or a file of more than `most` bytes."""
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{path.name} is not a file")
    if facts.st_size > most:
        raise ValueError(f"{path.name} is too large: {facts.st_size} bytes")
    return path.read_bytes()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError for duplicate names, which parsers resolve differently."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("it contains a duplicate name")
    return dict(pairs)


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object without duplicate names and without NaN. Raises ValueError."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not a number")

    found = json.loads(text, object_pairs_hook=_object, parse_constant=refuse)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError(f"{str(value)[:40]!r} is not a size")
    return value


def digest_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _manifest(place: Path) -> dict[str, Any]:
    if place.is_symlink():
        raise ValueError("it is a link")
    manifest = parse_object(read_regular(place / "manifest.json", _MANIFEST))
    step, score, schema = _count(manifest["step"]), manifest.get("score"), manifest["schema"]
    if schema not in (_SCHEMA, "invkit.checkpoint/1") or f"step-{step:08d}" != place.name.removesuffix(".old"):
        raise ValueError("its manifest has another schema or another step")
    if schema == _SCHEMA and manifest.pop("sha256") != digest_of(manifest):
        raise ValueError("manifest.json does not match its digest")
    if not isinstance(manifest["files"], dict) or not isinstance(manifest["meta"], dict):
        raise ValueError("its manifest has another structure")
    if score is not None and not (type(score) is float and math.isfinite(score)):
        raise ValueError("its score is not a number")
    for name in manifest["files"]:
        if not _FILE.fullmatch(name):
            raise ValueError(f"its manifest contains the file name {name[:80]!r}")
    return manifest


def header_of(name: str, data: bytes) -> tuple[dict[str, Any], Any]:
    """The entries and the metadata of a safetensors header; rejects what safetensors accepts: other types, duplicate names."""
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER:
        raise ValueError(f"{name} has no header")
    header = parse_object(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    if any(entry["dtype"] not in _TYPES for entry in header.values()):
        raise ValueError(f"{name}: a tensor of another type")
    return header, metadata


def _check_header(name: str, data: bytes) -> None:
    """Reject files of a checkpoint with metadata, and those that `header_of` rejects."""
    if header_of(name, data)[1]:
        raise ValueError(f"{name} contains metadata")


def _read(place: Path, names: Collection[str] | None) -> Checkpoint:
    manifest = _manifest(place)
    tensors = {}
    for file in [f"{name}.safetensors" for name in names] if names is not None else manifest["files"]:
        if file not in manifest["files"]:
            raise ValueError(f"it has no {file}")
        facts = manifest["files"][file]
        data = read_regular(place / file, _count(facts["bytes"]))
        if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError(f"{file} does not match the manifest")
        _check_header(file, data)
        group = load(data)
        if bad := not_finite(group):
            raise ValueError(f"{file}: {bad[:80]!r} is not finite")
        tensors[file.removesuffix(".safetensors")] = group
    return Checkpoint(manifest["step"], tensors, manifest["meta"])


def _first_intact(folder: Path, places: Iterable[Path], names: Collection[str] | None) -> Checkpoint | None:
    reason = ""
    for place in places:
        try:
            return _read(place, names)
        except DAMAGE as error:
            text = "it has no " * isinstance(error, KeyError) + first_line(error)
            reason = reason or f"{place.name}: {text}"
            warnings.warn(f"{place} is damaged ({text}); trying the previous one", stacklevel=3)
    if reason:
        raise DataError(f"{folder}: every checkpoint is damaged ({reason}); start again with --fresh")
    return None


def latest_checkpoint(folder: Path, names: Collection[str] | None = None) -> Checkpoint | None:
    """Load the newest intact checkpoint, or None if there are none; if `names` is given, only these files.

    Warns of each damaged one that is skipped; raises DataError if all are damaged.
    """
    return _first_intact(folder, _steps(folder), names)


def best_checkpoint(folder: Path, names: Collection[str] | None = None) -> Checkpoint | None:
    """Load the intact checkpoint of lowest score, or None if none has a score; otherwise like `latest_checkpoint`."""
    scores = _scores(_steps(folder))
    return _first_intact(folder, sorted(scores, key=lambda p: scores[p]), names)


def check_fit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises DataError, with the first difference, unless `weights` have the names and shapes of the model's own."""

    def describe(x: Tensor | None) -> str:
        return "absent" if x is None else f"{x.dtype} {tuple(x.shape)}".removeprefix("torch.")

    for name in [*own, *weights]:
        ours, theirs = own.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape or not theirs.is_floating_point():
            raise DataError(
                f"the checkpoint does not match the recipe's model: {name[:80]!r} is {describe(theirs)} in it and "
                f"{describe(ours)} in the model; start again with --fresh"
            )
