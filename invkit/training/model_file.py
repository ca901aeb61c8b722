"""Model files: what inference needs of a run, and facts about it, in one safetensors file.

The metadata of the header hold one text, a JSON manifest. Its SHA-256 covers the manifest itself, the name, type and shape of
each tensor, and their bytes. Files are not trusted; they are checked as checkpoints are.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from invkit.core.errors import DataError, NonFiniteError, first_line
from invkit.core.files import write_atomic
from invkit.training.checkpoint import DAMAGE, Checkpoint, digest_of, header_of, not_finite, parse_object, read_regular

SUFFIX = ".safetensors"
_SCHEMA = "invkit.model/1"
_KEY = "invkit"  # of the manifest in the metadata
_LARGEST = 16 << 30  # bytes of a file


def write_model(path: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any]) -> None:
    """Write a model file atomically; floating-point tensors of the group `average` in half precision.

    Raises NonFiniteError if a weight is not finite, or too large for half precision.
    """
    flat = {}
    for group, named in tensors.items():
        for name, value in named.items():
            value = value.detach().cpu()
            flat[f"{group}/{name}"] = (value.half() if group == "average" else value).contiguous()
    if bad := not_finite(flat):
        raise NonFiniteError(f"{bad} is not finite in half precision; {path} was not written")
    entries, _ = header_of(path.name, data := save(flat))
    manifest = {"schema": _SCHEMA, "step": step, "meta": dict(meta)}
    manifest["sha256"] = _digest(manifest, entries, data)
    write_atomic(path, save(flat, {_KEY: json.dumps(manifest, allow_nan=False)}))


def read_model(path: Path) -> Checkpoint:
    """The groups of tensors of a model file, the averaged weights in float32, and its facts, with the digest as `sha256`.

    Raises DataError if the file is damaged, or none that `write_model` wrote.
    """
    try:
        data = read_regular(path.resolve(), _LARGEST)
        entries, metadata = header_of(path.name, data)
        if not isinstance(metadata, dict) or _KEY not in metadata:
            raise ValueError("it has no manifest of invkit")
        manifest = parse_object(metadata[_KEY].encode())
        if manifest["schema"] != _SCHEMA:
            raise ValueError(f"it is of the kind {str(manifest['schema'])[:40]!r}, which this version does not read")
        if (digest := manifest.pop("sha256")) != _digest(manifest, entries, data):
            raise ValueError("its contents do not match its digest")
        tensors: dict[str, dict[str, Tensor]] = {"average": {}, "constants": {}}
        found = load(data)
        if bad := not_finite(found):
            raise ValueError(f"{bad[:80]!r} is not finite")
        for name, value in found.items():
            group, _, own = name.partition("/")
            tensors.setdefault(group, {})[own] = value.float() if group == "average" else value
        return Checkpoint(int(manifest["step"]), tensors, {**manifest["meta"], "sha256": digest})
    except DAMAGE as error:
        reason = "it has no " * isinstance(error, KeyError) + first_line(error)
    if path.suffix in (".yaml", ".yml"):
        raise DataError(f"{path} is a recipe; `invkit run {path}` trains a model, then give its run folder")
    raise DataError(f"{path} is damaged, or no model of invkit ({reason}); `invkit export RUN FILE` writes one")


def as_bytes(values: list[str]) -> Tensor:
    """Digests, hexadecimal and of equal length, as rows of bytes (N, L).

    >>> from_bytes(as_bytes(["00ff", "0a01"]))
    ['00ff', '0a01']
    """
    rows = [list(bytes.fromhex(value)) for value in values]
    return torch.tensor(rows, dtype=torch.uint8).reshape(len(rows), -1)


def from_bytes(
    rows: Tensor,  # (N, L)
) -> list[str]:
    """The digests of `as_bytes`."""
    return [bytes(row).hex() for row in rows.tolist()]


def _digest(manifest: Mapping[str, Any], entries: Mapping[str, Any], data: bytes) -> str:
    """Of the manifest, the header and the bytes of all tensors."""
    body = data[8 + int.from_bytes(data[:8], "little") :]
    return digest_of({"manifest": manifest, "header": entries, "body": hashlib.sha256(body).hexdigest()})
