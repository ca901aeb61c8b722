"""Evaluates stored reconstructions again, with other metrics and without the model."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.evaluation.evaluator import Evaluation, evaluate_rows
from invkit.evaluation.protocol import Protocol
from invkit.physics.measurement import Measurement
from invkit.reconstructors import Reconstructor

LARGE = 100e6  # bytes of reconstructions above which their size is reported before the evaluation


def saved_bytes(methods: Sequence[Reconstructor], grids: Sequence[Grid], images: int, samples: int) -> int:
    """Approximate size in bytes of the reconstructions of one degradation before compression."""
    each = 2 + sum(samples if readout == "sample" else 1 for method in methods for readout in method.readouts)
    return sum(4 * grid.channels * grid.pixels for grid in grids) * images * each


class SavedImages(Images):
    """The true images stored by an evaluation."""

    def __init__(self, truth: Tensor, groups: Sequence[str]) -> None:
        self.truth, self.groups = truth, groups
        self.grid = Grid(truth.shape[2], truth.shape[3], truth.shape[1])

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.truth[list(ids)]

    def group(self, image_id: int) -> str:
        return self.groups[image_id]


class SavedMethod(Reconstructor):
    """The stored reconstructions of a method; each call returns those of all stored images of a grid."""

    def __init__(self, name: str, calls: Mapping[str, int], read: Callable[[str, Grid], dict[str, Any]]) -> None:
        self.name, self.calls, self.read = name, calls, read

    @cached_property
    def readouts(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.calls)

    def nfe(self, readout: str) -> int:
        return self.calls[readout]

    def mean(self, measurement: Measurement) -> Tensor:
        return self._load(measurement, "mean")

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return self._load(measurement, "samples")[:count]

    def _load(self, measurement: Measurement, key: str) -> Tensor:
        stored = torch.from_numpy(self.read("truth", measurement.grid)["y"])
        y = measurement.y.cpu()
        if stored.shape != y.shape or not torch.allclose(stored, y, rtol=1e-3, atol=1e-3):
            raise DataError(
                "the stored reconstructions are of other measurements than this run's; `invkit eval` computes them again"
            )
        return torch.from_numpy(self.read(self.name, measurement.grid)[key]).to(measurement.y.device)


def evaluate_saved(folder: Path, table: Mapping[str, Any], protocols: Iterable[Protocol]) -> dict[str, Evaluation]:
    """Evaluate a run's stored reconstructions in `folder/reconstructions`: one evaluation per degradation.

    Methods and grids are those of `table`, metrics those of the protocols; operators and noise are sampled again from their keys.
    Raises DataError if files are missing, damaged, of other measurements, or of a version that stored too little.
    """
    rows = table["rows"]
    several = len({row["degradation"] for row in rows}) > 1
    grids = list(dict.fromkeys(tuple(row["grid"]) for row in rows))
    evaluations = {}
    for protocol in protocols:
        name = protocol.degradation_name

        def read(stem: str, grid: Grid, name: str = name) -> dict[str, Any]:
            tail = f"-{grid}" * (len(grids) > 1) + f"-{name}" * several
            return _arrays(folder / "reconstructions" / f"{stem}{tail}.npz")

        calls: dict[str, dict[str, int]] = {}
        for row in rows:
            known = any(entry["value"] is not None for entry in row["metrics"].values())  # else refused
            if row["degradation"] == name and known:
                calls.setdefault(row["method"], {})[row["readout"]] = row["nfe"]
        methods = [SavedMethod(method, own, read) for method, own in calls.items()]
        truths = [read("truth", Grid(*shape)) for shape in grids]
        images = [SavedImages(torch.from_numpy(truth["truth"]), truth["group"].tolist()) for truth in truths]
        count = min(map(len, images))
        kept = [len(read(m.name, images[0].grid)["samples"]) for m in methods if "sample" in m.readouts]
        chosen = {"images": count, "batch": count, "samples": min(kept, default=1), "save": 1, "save_samples": 1}
        own_protocol = replace(protocol, settings=protocol.settings.model_copy(update=chosen))
        evaluations[name] = evaluate_rows(methods, {opened.grid: opened for opened in images}, own_protocol)
    return evaluations


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    remedy = "`invkit eval RUN eval.save=16` evaluates the run again and stores them"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
    if path.name.startswith("truth") and "group" not in arrays:
        raise DataError(f"{path} is of an earlier version, which did not store enough; {remedy}")
    return arrays
