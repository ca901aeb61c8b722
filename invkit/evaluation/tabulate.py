"""Rows of the table: what is gathered of each while the pictures go by, and the numbers it becomes."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.device import synchronise
from invkit.core.errors import NonFiniteError
from invkit.core.grid import Grid
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.conformal import calibrate
from invkit.evaluation.metrics import Metric, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.spread_skill import SCORE, SPREAD, by_deviation, diagnosed
from invkit.reconstructors import Reconstructor


@dataclass(eq=False)
class Row:
    """What has been gathered for one row of the table."""

    method: Reconstructor
    readout: Readout
    components: dict[str, dict[str, list[NDArray[np.float64]]]] = field(default_factory=dict)  # by metric
    reasons: dict[str, str] = field(default_factory=dict)  # by metric
    timings: list[tuple[float, int]] = field(default_factory=list)  # seconds and pictures of each batch
    memory: int | None = None  # bytes

    def add(self, outcome: Outcome, metrics: Mapping[str, Metric]) -> None:
        for name, metric in metrics.items():
            try:
                parts = metric.components(outcome)
            except Unavailable as why:
                self.reasons[name] = str(why)
                continue
            for part, values in parts.items():
                self._put(name, part, values)
        for name, found in diagnosed(outcome).items():
            for part, values in found.items():
                self._put(name, part, values)

    def _put(self, name: str, part: str, values: Tensor) -> None:
        self.components.setdefault(name, {}).setdefault(part, []).append(values.double().cpu().numpy())

    def refuse(self, reason: str, metrics: Mapping[str, Metric]) -> None:
        """Note that the method has nothing to say of such measurements."""
        self.reasons.update(dict.fromkeys(metrics, reason))

    def facts(self) -> dict[str, Any]:
        """What was gathered beside the components, as JSON has it."""
        return {"reasons": self.reasons, "timings": self.timings, "memory": self.memory}

    def tensors(self) -> dict[str, Tensor]:
        """The components of all pictures by `metric/component`, (N, ...) float64 each."""
        return {
            f"{name}/{part}": torch.from_numpy(np.concatenate(values))
            for name, parts in self.components.items()
            for part, values in parts.items()
        }

    def extend(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Add what was gathered of the pictures that follow."""
        for path, values in tensors.items():
            name, _, part = path.partition("/")
            self._put(name, part, values)
        self.reasons.update(facts["reasons"])
        self.timings += [(seconds, count) for seconds, count in facts["timings"]]
        self.memory = max(self.memory or 0, facts["memory"] or 0) or None

    def joined(self, name: str) -> dict[str, NDArray[np.float64]] | None:
        """Components of all pictures, (N,) each; None where the metric has no value for this row."""
        found = None if name in self.reasons else self.components.get(name)
        return None if not found else {part: np.concatenate(values) for part, values in found.items()}

    def measured(self, device: torch.device, work: Callable[[], Tensor], ids: Sequence[int]) -> Tensor:
        """Do the work for some pictures, its time and memory noted. Raises NonFiniteError, and what the work does."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        synchronise(device)
        start = time.perf_counter()
        result = work()
        synchronise(device)
        self.timings.append((time.perf_counter() - start, len(ids)))
        self.memory = max(self.memory or 0, _peak_memory(device) or 0) or None
        if not bool(result.isfinite().all()):
            raise NonFiniteError(
                f"{self.method.name}, {self.readout}: not finite among test pictures {ids[0]} to {ids[-1]}; "
                "try train.precision=float32, or more sample.steps"
            )
        return result

    def cost(self) -> dict[str, Any]:
        if not self.timings:  # refused
            return {"seconds_per_image": None, "warmed_up": False, "peak_memory_bytes": None}
        warm = self.timings[1:] or self.timings  # the first batch warms up, unless it is the only one
        return {
            "seconds_per_image": _round(sum(t for t, _ in warm) / sum(n for _, n in warm)),
            "warmed_up": len(self.timings) > 1,
            "peak_memory_bytes": self.memory,
        }


def _peak_memory(device: torch.device) -> int | None:
    """CUDA: the most that was allocated since the reset; else the most that this process ever held. Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _round(value: float) -> float:
    """Six significant digits: what another batch cut or machine does not change."""
    return float(f"{value:.6g}")


def _rounded(node: Any) -> Any:
    """A tree of plain data with every float rounded."""
    if isinstance(node, dict):
        return {key: _rounded(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rounded(value) for value in node]
    return _round(node) if isinstance(node, float) else node


class Tabulator:
    """The numbers of one grid's rows, with intervals on the same resamples."""

    def __init__(
        self, rows: Sequence[Row], bootstrap: Bootstrap, metrics: Mapping[str, Metric], samples: int, paired_to: str,
        run: str, grid: Grid,
    ) -> None:  # fmt: skip
        self.gathered, self.bootstrap, self.run, self.grid = rows, bootstrap, run, grid
        self.metrics, self.samples, self.paired_to = metrics, samples, paired_to
        self.values = [self._values(row) for row in rows]

    def _values(self, row: Row) -> dict[str, NDArray[np.float64]]:
        """By metric, the value and those of the resamples; a metric without one says why."""
        found = {}
        for name, metric in self.metrics.items():
            if (parts := row.joined(name)) is not None:
                try:
                    found[name] = self.bootstrap.values(metric, parts)
                except Unavailable as why:
                    row.reasons[name] = str(why)
        return found

    def head(self, row: Row) -> dict[str, Any]:
        """What names a row and its work."""
        samples = self.samples if row.readout == "sample" else 0
        return {
            "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
            "nfe": row.method.nfe(row.readout), "samples": samples,
        }  # fmt: skip

    def _entry(self, values: NDArray[np.float64] | None, reason: str | None) -> dict[str, Any]:
        if values is None or not np.isfinite(values[0]):
            return {"value": None, "lo": None, "hi": None, "reason": reason or "not defined for these pictures"}
        lo, hi = (None if end is None else _round(end) for end in self.bootstrap.interval(values))
        return {"value": _round(float(values[0])), "lo": lo, "hi": hi}

    def rows(self) -> list[dict[str, Any]]:
        return [
            self.head(row)
            | {"metrics": {name: self._entry(values.get(name), row.reasons.get(name)) for name in self.metrics}}
            for row, values in zip(self.gathered, self.values, strict=True)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """Of every row from the paired method's row of the same readout; of a point, from its mean."""
        reference = {
            row.readout: values
            for row, values in zip(self.gathered, self.values, strict=True)
            if row.method.name == self.paired_to
        }
        found = []
        for row, values in zip(self.gathered, self.values, strict=True):
            against: Readout = "mean" if row.readout == "point" else row.readout
            if row.method.name == self.paired_to or against not in reference:
                continue
            for name in self.metrics:
                if name in values and name in reference[against]:
                    entry = self._entry(values[name] - reference[against][name], None)
                    found.append(
                        {
                            "run": self.run, "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
                            "against": f"{self.paired_to} {against}", "metric": name, **entry,
                        }
                    )  # fmt: skip
        return found

    def calibration(self, groups: Sequence[str], seed: int) -> list[dict[str, Any]]:
        """Of every row that samples: the factor that calibrates it, and its error by predicted deviation."""
        return [
            {**self.head(row), "conformal": _rounded(calibrate(score["score"], groups, seed)),
             "deviations": _rounded(by_deviation(row.joined(SPREAD) or {}))}
            for row in self.gathered
            if (score := row.joined(SCORE)) is not None
        ]  # fmt: skip

    def per_image(
        self, ids: Sequence[int], groups: Sequence[str], observed_share: NDArray[np.float64]
    ) -> list[dict[str, Any]]:
        """Each metric of each picture alone; empty where it has no value there."""

        def said(value: float) -> float | str:
            return _round(value) if np.isfinite(value) else ""

        found = []
        for row in self.gathered:
            columns = {}
            for name, metric in self.metrics.items():
                parts = row.joined(name)
                with np.errstate(divide="ignore", invalid="ignore"):
                    columns[name] = np.full(len(ids), np.nan) if parts is None else metric.reduce(parts)
            head = {"run": self.run, "method": row.method.name, "readout": row.readout, "grid": str(self.grid)}
            for n, (i, group, share) in enumerate(zip(ids, groups, observed_share, strict=True)):
                about = {"image": i, "group": group, "observed_share": said(share)}
                found.append({**head, **about, **{name: said(values[n]) for name, values in columns.items()}})
        return found
