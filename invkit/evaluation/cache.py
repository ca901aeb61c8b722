"""What an evaluation has gathered so far: parts of some pictures each, as bytes, on disk, and for other processes."""

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
class Part:
    """What was gathered of the pictures `first` to `first + count - 1`."""

    first: int
    count: int
    facts: list[dict[str, Any]]  # of each row, as JSON has it
    tensors: dict[str, Tensor]  # masks, components and kept pictures, by path


def pack(parts: Sequence[Part]) -> bytes:
    """Parts as safetensors: every bit of every number, and nothing that a reader would run.

    >>> [found] = unpack(pack([Part(4, 2, [{"memory": None}], {"a/b": torch.ones(2)})]))
    >>> found.first, found.count, found.facts, found.tensors
    (4, 2, [{'memory': None}], {'a/b': tensor([1., 1.])})
    """
    facts = json.dumps([[part.first, part.count, part.facts] for part in parts]).encode()
    tensors = {f"{i}/{path}": t.contiguous() for i, part in enumerate(parts) for path, t in part.tensors.items()}
    return save({"facts": torch.frombuffer(bytearray(facts), dtype=torch.uint8), **tensors})


def unpack(data: bytes) -> list[Part]:
    """The parts that were packed."""
    tensors = load(data)
    head = json.loads(tensors.pop("facts").numpy().tobytes())
    parts = [Part(first, count, facts, {}) for first, count, facts in head]
    for path, t in tensors.items():
        i, _, rest = path.partition("/")
        parts[int(i)].tensors[rest] = t
    return parts


class Partial:
    """A folder of parts that belong to one fingerprint: what they are a function of.

    Each file is whole or not there, and named after its SHA-256. What is damaged or belongs to another fingerprint is
    said, removed, and gathered again.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._pending: list[Part] = []
        self._next = time.monotonic() + EVERY

    def open(self) -> None:
        """Make the folder this fingerprint's own; what is there of another one is removed."""
        if self.folder.exists():
            try:
                known = json.loads((self.folder / _STAMP).read_text("utf-8")) == {"fingerprint": self.fingerprint}
            except (OSError, ValueError):
                known = False
            if known:
                return
            _warn(f"{self.folder} is of other weights, settings or versions: it is left out, and removed")
            self.remove()
        write_atomic(self.folder / _STAMP, json.dumps({"fingerprint": self.fingerprint}))

    def within(self, name: str) -> "Partial":
        """The parts of one degradation and grid."""
        return Partial(self.folder / name, self.fingerprint)

    def read(self) -> list[Part]:
        """All parts that are sound, in the order of their pictures, none of which is in two of them."""
        found: list[Part] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() != path.stem:
                    raise ValueError("it is not what was written")
                found += unpack(data)
            except _DAMAGE as error:
                _warn(f"{path} is damaged ({error}): it is removed, and its pictures are evaluated again")
                path.unlink(missing_ok=True)
        found.sort(key=lambda part: part.first)
        kept = found[:1]
        for part in found[1:]:
            if part.first >= kept[-1].first + kept[-1].count:
                kept.append(part)
        return kept

    def add(self, part: Part) -> None:
        """Keep a part; it is on disk when the time has come, or after `flush`."""
        self._pending.append(part)
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
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
        """Remove the folder: the evaluation is done, or begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def gaps(covered: Sequence[tuple[int, int]], count: int, batch: int) -> list[tuple[int, int]]:
    """The pictures of 0 to `count` - 1 that no (first, count) covers, cut into batches: (first, last + 1) each.

    >>> gaps([(2, 2), (6, 1)], 12, 3)
    [(0, 2), (4, 6), (7, 10), (10, 12)]
    """
    found, at = [], 0
    for first, length in [*covered, (count, 0)]:
        found += [(i, min(i + batch, first)) for i in range(at, first, batch)]
        at = first + length
    return found


def joined(parts: Sequence[Part], prefix: str) -> dict[str, Tensor]:
    """The tensors whose path begins with `prefix`, those of all parts one after the other, by the rest of their path."""
    found: dict[str, list[Tensor]] = {}
    for part in parts:
        for path, t in part.tensors.items():
            if path.startswith(prefix):
                found.setdefault(path.removeprefix(prefix), []).append(t)
    return {path: torch.cat(tensors) for path, tensors in found.items()}
