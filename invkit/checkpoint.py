"""Checkpoints: safetensors and JSON in a folder that appears whole or not at all.

A checkpoint is staged beside its place, synced, given a manifest of sizes and SHA-256, and renamed; only then are older
ones pruned. A damaged one is reported and the one before it is used.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from invkit.errors import DataError
from invkit.files import sync_folder, write_synced

_NAME = re.compile(r"step-(\d{8})")
_FILE = re.compile(r"[a-z]+\.safetensors")
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """A training state: tensors by file and name, and JSON facts beside them."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    meta: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any]
) -> Path:
    """Write `folder/step-XXXXXXXX` atomically and prune all but the last `KEEP`."""
    folder.mkdir(parents=True, exist_ok=True)
    place, staged = folder / f"step-{step:08d}", folder / f".staged-{os.getpid()}"
    for leftover in folder.glob(".staged-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    staged.mkdir()
    files = {}
    for name, group in tensors.items():
        data = save({key: value.detach().cpu().contiguous() for key, value in group.items()})
        write_synced(staged / f"{name}.safetensors", data)
        files[f"{name}.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"schema": "invkit.checkpoint/1", "step": step, "files": files, "meta": dict(meta)}
    write_synced(staged / "manifest.json", json.dumps(manifest, indent=1).encode())
    sync_folder(staged)
    if place.exists():  # the same step saved again: move the old one out of the way first
        place.rename(folder / f".staged-old-{os.getpid()}")
    staged.rename(place)
    sync_folder(folder)
    for old in [*_steps(folder)[KEEP:], *folder.glob(".staged-*")]:
        shutil.rmtree(old)
    return place


def _steps(folder: Path) -> list[Path]:
    """Checkpoint folders, the newest first."""
    found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda p: p.name, reverse=True)


def _read(place: Path) -> Checkpoint:
    manifest = json.loads((place / "manifest.json").read_text("utf-8"))
    if manifest.get("schema") != "invkit.checkpoint/1" or f"step-{manifest['step']:08d}" != place.name:
        raise ValueError("its manifest is of another kind")
    tensors = {}
    for name, facts in manifest["files"].items():
        if not _FILE.fullmatch(name):
            raise ValueError(f"its manifest names a file {name!r}")
        data = (place / name).read_bytes()
        if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError(f"{name} is not what was written")
        tensors[name.removesuffix(".safetensors")] = load(data)
    return Checkpoint(manifest["step"], tensors, manifest["meta"])


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is intact, or None where there is none at all.

    Warns of every damaged one it passes over; raises DataError where all are damaged.
    """
    steps = _steps(folder)
    for place in steps:
        try:
            return _read(place)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"{place} is damaged ({error}); trying the one before it", stacklevel=2)
        except Exception as error:  # safetensors raises a class of its own
            if type(error).__name__ != "SafetensorError":
                raise
            warnings.warn(f"{place} is damaged ({error}); trying the one before it", stacklevel=2)
    if steps:
        raise DataError(f"{folder}: every checkpoint is damaged; start again with --fresh")
    return None
