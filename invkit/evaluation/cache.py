"""Results of finished batches: cached on disk, so that an interrupted evaluation resumes, and sent between processes."""

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from invkit.core.files import make_folder, write_atomic

EVERY = 10.0  # seconds between two writes
SHARE = 0.02  # of the time that writing may take
_STAMP = "fingerprint.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True, eq=False)
class BatchResults:
    """The results of the images `first` to `first + count - 1`."""

    first: int
    count: int
    facts: list[dict[str, Any]]  # of each row, JSON-serialisable
    tensors: dict[str, Tensor]  # masks, metric components and stored images, by path


def pack(batches: Sequence[BatchResults]) -> bytes:
    """Serialise batches as safetensors, which is lossless and contains no code.

    >>> [batch] = unpack(pack([BatchResults(4, 2, [{"memory": None}], {"a/b": torch.ones(2)})]))
    >>> batch.first, batch.count, batch.facts, batch.tensors
    (4, 2, [{'memory': None}], {'a/b': tensor([1., 1.])})
    """
    facts = json.dumps([[batch.first, batch.count, batch.facts] for batch in batches]).encode()
    tensors = {  # copied: safetensors refuses tensors that share memory, as those of an operator that returns its input
        f"{i}/{path}": t.clone(memory_format=torch.contiguous_format)
        for i, batch in enumerate(batches)
        for path, t in batch.tensors.items()
    }
    return save({"facts": torch.frombuffer(bytearray(facts), dtype=torch.uint8), **tensors})


def unpack(data: bytes) -> list[BatchResults]:
    """Deserialise batches packed by `pack`."""
    tensors = load(data)
    head = json.loads(tensors.pop("facts").numpy().tobytes())
    batches = [BatchResults(first, count, facts, {}) for first, count, facts in head]
    for path, t in tensors.items():
        i, _, rest = path.partition("/")
        batches[int(i)].tensors[rest] = t
    return batches


class ResultCache:
    """A folder of batch results for one fingerprint of weights, settings and versions.

    Files are written atomically and named by their SHA-256. Damaged files and those of another fingerprint are reported,
    deleted and computed again.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._pending: list[BatchResults] = []
        self._next = time.monotonic() + EVERY

    def open(self) -> None:
        """Create the folder; an existing one with another fingerprint is deleted first."""
        if self.folder.exists():
            try:
                known = json.loads((self.folder / _STAMP).read_text("utf-8")) == {"fingerprint": self.fingerprint}
            except (OSError, ValueError):
                known = False
            if known:
                return
            _warn(f"{self.folder} holds results of other weights, settings or versions; it is deleted")
            self.remove()
        write_atomic(self.folder / _STAMP, json.dumps({"fingerprint": self.fingerprint}))

    def within(self, name: str) -> "ResultCache":
        """The cache of one degradation and grid, in the subfolder `name`."""
        return ResultCache(self.folder / name, self.fingerprint)

    def read(self) -> list[BatchResults]:
        """All intact batches, sorted by image and without overlaps."""
        found: list[BatchResults] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() != path.stem:
                    raise ValueError("its checksum does not match its name")
                found += unpack(data)
            except _DAMAGE as error:
                _warn(f"{path} is damaged ({error}); it is deleted, and its images are evaluated again")
                path.unlink(missing_ok=True)
        found.sort(key=lambda batch: batch.first)
        kept = found[:1]
        for batch in found[1:]:
            if batch.first >= kept[-1].first + kept[-1].count:
                kept.append(batch)
        return kept

    def add(self, batch: BatchResults) -> None:
        """Add a batch. Pending batches are written at most every `EVERY` seconds, and by `flush`."""
        self._pending.append(batch)
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Write the pending batches to disk."""
        if not self._pending:
            return
        start = time.monotonic()
        data = pack(self._pending)
        make_folder(self.folder)
        write_atomic(self.folder / f"{hashlib.sha256(data).hexdigest()}.safetensors", data)
        self._pending = []
        end = time.monotonic()
        self._next = end + max(EVERY, (end - start) / SHARE)

    def remove(self) -> None:
        """Delete the folder, after the evaluation or before starting again."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def gaps(covered: Sequence[tuple[int, int]], count: int, batch: int) -> list[tuple[int, int]]:
    """Batches (first, last + 1) of the images 0 to `count` - 1 that no (first, count) in `covered` contains.

    >>> gaps([(2, 2), (6, 1)], 12, 3)
    [(0, 2), (4, 6), (7, 10), (10, 12)]
    """
    found, at = [], 0
    for first, length in [*covered, (count, 0)]:
        found += [(i, min(i + batch, first)) for i in range(at, first, batch)]
        at = first + length
    return found


def concatenated(batches: Sequence[BatchResults], prefix: str) -> dict[str, Tensor]:
    """Concatenate, over the batches, the tensors whose path starts with `prefix`; the keys are the rest of the path."""
    found: dict[str, list[Tensor]] = {}
    for batch in batches:
        for path, t in batch.tensors.items():
            if path.startswith(prefix):
                found.setdefault(path.removeprefix(prefix), []).append(t)
    return {path: torch.cat(tensors) for path, tensors in found.items()}
