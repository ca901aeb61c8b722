"""What is kept of an interrupted `invkit reconstruct`: finished inputs, and finished samples of the one in hand."""

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invkit.core.files import write_atomic, write_json
from invkit.core.keys import Keys
from invkit.data.archive import read_npy
from invkit.experiment.inference.request import Request
from invkit.experiment.trained_model import weights_sha256
from invkit.physics.measurement import Measurement
from invkit.plugins.entry_points import version_of

DONE, PARTIAL = ".done", ".partial"  # folders in the output folder


def run_digest(request: Request) -> str:
    """A hash of all that results depend on beside an input: weights, settings, options and version."""
    options, recipe = request.options, request.trained.recipe
    parts = [
        version_of("invkit"), weights_sha256(request.trained.model), recipe.degradation.model_dump_json(serialize_as_any=True),
        request.settings.model_dump_json(serialize_as_any=True), type(request.settings.method).__name__,
        options.samples, options.seed, str(request.trained.device),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def input_digest(run: str, name: str, measurement: Measurement, entry: dict[str, Any]) -> str:
    """A hash of the measurement, with the operator by its values of a random image, and of how it is reconstructed."""
    digest = hashlib.sha256(json.dumps([run, name, entry], sort_keys=True).encode())
    probe = Keys.of(0, "probe", range(len(measurement))).normal("x", *measurement.grid.picture)
    for values in (measurement.y, measurement.operator.forward(probe)):
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Kept:
    """The files of one input that an interrupted call has finished; those of another digest are ignored."""

    def __init__(self, out: Path, name: str, digest: str) -> None:
        self.out, self.digest = out, digest
        self._done, self._folder = out / DONE / f"{name}.json", out / PARTIAL / name

    def entry(self) -> dict[str, Any] | None:
        """The entry of `reconstruct.json`, if the input is finished and all of its files exist."""
        found = _read(self._done)
        if found is None or found.get("digest") != self.digest:
            return None
        entry: dict[str, Any] = found["entry"]
        names = [entry["arrays"], *entry["pictures"], *filter(None, [entry.get("table")])]
        return entry if all((self.out / name).is_file() for name in names) else None

    def finish(self, entry: dict[str, Any]) -> None:
        """Record that all files of the input are written."""
        write_json(self._done, {"digest": self.digest, "entry": entry})
        shutil.rmtree(self._folder, ignore_errors=True)

    def load(self, stem: str) -> Tensor | None:
        """A tensor that was kept; None if there is none."""
        try:
            data = (self._folder / f"{self.digest[:16]}-{stem}.npy").read_bytes()
            return torch.from_numpy(read_npy(io.BytesIO(data), len(data)).copy())
        except (OSError, ValueError):
            return None

    def keep(self, stem: str, x: Tensor) -> None:
        data = io.BytesIO()
        np.save(data, x.numpy(), allow_pickle=False)
        write_atomic(self._folder / f"{self.digest[:16]}-{stem}.npy", data.getvalue())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("entry"), dict) else None
