"""The scores of one method on all test images, with its time and memory."""

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
from invkit.core.errors import NonFiniteError, PluginError, blamed
from invkit.evaluation.data_fit import MISFIT, misfit
from invkit.evaluation.metrics import Metric, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.ranks import RANKS, rank_counts
from invkit.evaluation.spread_skill import diagnostics
from invkit.reconstructors import Reconstructor
from invkit.reconstructors.base import Renamed


@dataclass(eq=False)
class MethodScores:
    """The scores of one estimator of one method: a row of the table."""

    method: Reconstructor
    readout: Readout
    components: dict[str, dict[str, list[NDArray[np.float64]]]] = field(default_factory=dict)  # by metric
    reasons: dict[str, str] = field(default_factory=dict)  # by metric
    timings: list[tuple[float, int]] = field(default_factory=list)  # seconds and images of each batch
    memory: int | None = None  # bytes

    def add(self, outcome: Outcome, metrics: Mapping[str, Metric]) -> None:
        for name, metric in metrics.items():
            try:
                with blamed(f"the metric {name!r}, {self.readout},", metric):
                    parts = metric.components(outcome)
            except Unavailable as why:
                self.reasons[name] = str(why)
                continue
            if wrong := [part for part, values in parts.items() if values.shape[:1] != outcome.truth.shape[:1]]:
                raise PluginError(
                    f"the metric {name!r}: its component {wrong[0]!r} has shape {tuple(parts[wrong[0]].shape)}, expected one "
                    f"number for each of {len(outcome.truth)} images"
                )
            for part, values in parts.items():
                self._put(name, part, values)
        for name, parts in (diagnostics(outcome) | {MISFIT: misfit(outcome), RANKS: rank_counts(outcome)}).items():
            for part, values in parts.items():
                self._put(name, part, values)

    def _put(self, name: str, part: str, values: Tensor) -> None:
        self.components.setdefault(name, {}).setdefault(part, []).append(values.double().cpu().numpy())

    def refuse(self, reason: str, metrics: Mapping[str, Metric]) -> None:
        """Record that the method cannot handle the measurements."""
        self.reasons.update(dict.fromkeys(metrics, reason))

    def facts(self) -> dict[str, Any]:
        """Everything except the components, JSON-serialisable."""
        return {"reasons": self.reasons, "timings": self.timings, "memory": self.memory}

    def tensors(self) -> dict[str, Tensor]:
        """The components of all images by `metric/component`, (N, ...) float64 each."""
        return {
            f"{name}/{part}": torch.from_numpy(np.concatenate(values))
            for name, parts in self.components.items()
            for part, values in parts.items()
        }

    def extend(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Append the scores of the next images, as returned by `facts` and `tensors`."""
        for path, values in tensors.items():
            name, _, part = path.partition("/")
            self._put(name, part, values)
        self.reasons.update(facts["reasons"])
        self.timings += [(seconds, count) for seconds, count in facts["timings"]]
        self.memory = max(self.memory or 0, facts["memory"] or 0) or None

    def values(self, name: str) -> dict[str, NDArray[np.float64]] | None:
        """Components of all images, (N, ...) each; None if the metric is not defined for this row."""
        parts = None if name in self.reasons else self.components.get(name)
        return None if not parts else {part: np.concatenate(values) for part, values in parts.items()}

    def timed(
        self, device: torch.device, work: Callable[[], Tensor], ids: Sequence[int], shape: Sequence[int]
    ) -> Tensor:
        """Call `work` for the images `ids` and record its time and memory; the result is checked to have `shape`.

        Raises NonFiniteError, PluginError for mistakes of a plugin, and the errors of `work`.
        """
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        synchronise(device)
        start = time.perf_counter()
        code = self.method.inner if isinstance(self.method, Renamed) else self.method
        with blamed(f"the method {self.method.name!r}, {self.readout},", code):
            result = work()
        synchronise(device)
        self.timings.append((time.perf_counter() - start, len(ids)))
        self.memory = max(self.memory or 0, _peak_memory(device) or 0) or None
        if tuple(result.shape) != tuple(shape):
            raise PluginError(
                f"the method {self.method.name!r}, {self.readout}, gives shape {tuple(result.shape)}, expected {tuple(shape)}"
            )
        if not bool(result.isfinite().all()):
            raise NonFiniteError(
                f"{self.method.name}, {self.readout}: the result for test images {ids[0]} to {ids[-1]} is not finite; "
                "try train.precision=float32, or more sample.steps"
            )
        return result

    def cost(self) -> dict[str, Any]:
        if not self.timings:  # refused
            return {"seconds_per_image": None, "warmed_up": False, "peak_memory_bytes": None}
        warm = self.timings[1:] or self.timings  # without the first batch, unless it is the only one
        return {
            "seconds_per_image": rounded(sum(t for t, _ in warm) / sum(n for _, n in warm)),
            "warmed_up": len(self.timings) > 1,
            "peak_memory_bytes": self.memory,
        }


def _peak_memory(device: torch.device) -> int | None:
    """Peak memory in bytes: on CUDA, allocated since the last reset; otherwise, the largest resident size of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rounded(value: float) -> float:
    """Round to six significant digits, so that the result does not depend on batch size or machine."""
    return float(f"{value:.6g}")


def rounded_tree(node: Any) -> Any:
    """Round every float in a tree of dicts and lists."""
    if isinstance(node, dict):
        return {key: rounded_tree(value) for key, value in node.items()}
    if isinstance(node, list):
        return [rounded_tree(value) for value in node]
    return rounded(node) if isinstance(node, float) else node
