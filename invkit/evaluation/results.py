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
from invkit.core.errors import NonFiniteError
from invkit.evaluation.metrics import Metric, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.spread_skill import diagnosed
from invkit.reconstructors import Reconstructor


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
        """Note that the method cannot handle such measurements."""
        self.reasons.update(dict.fromkeys(metrics, reason))

    def facts(self) -> dict[str, Any]:
        """Everything besides the components, as JSON holds it."""
        return {"reasons": self.reasons, "timings": self.timings, "memory": self.memory}

    def tensors(self) -> dict[str, Tensor]:
        """The components of all images by `metric/component`, (N, ...) float64 each."""
        return {
            f"{name}/{part}": torch.from_numpy(np.concatenate(values))
            for name, parts in self.components.items()
            for part, values in parts.items()
        }

    def extend(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Add the scores of the images that follow."""
        for path, values in tensors.items():
            name, _, part = path.partition("/")
            self._put(name, part, values)
        self.reasons.update(facts["reasons"])
        self.timings += [(seconds, count) for seconds, count in facts["timings"]]
        self.memory = max(self.memory or 0, facts["memory"] or 0) or None

    def values(self, name: str) -> dict[str, NDArray[np.float64]] | None:
        """Components of all images, (N,) each; None where the metric has no value for this row."""
        found = None if name in self.reasons else self.components.get(name)
        return None if not found else {part: np.concatenate(values) for part, values in found.items()}

    def measured(self, device: torch.device, work: Callable[[], Tensor], ids: Sequence[int]) -> Tensor:
        """Call `work` for some images and note its time and memory. Raises NonFiniteError, and what `work` raises."""
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
                f"{self.method.name}, {self.readout}: not finite among test images {ids[0]} to {ids[-1]}; "
                "try train.precision=float32, or more sample.steps"
            )
        return result

    def cost(self) -> dict[str, Any]:
        if not self.timings:  # refused
            return {"seconds_per_image": None, "warmed_up": False, "peak_memory_bytes": None}
        warm = self.timings[1:] or self.timings  # the first batch warms up, unless it is the only one
        return {
            "seconds_per_image": rounded(sum(t for t, _ in warm) / sum(n for _, n in warm)),
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


def rounded(value: float) -> float:
    """Six significant digits, which neither batch size nor machine changes."""
    return float(f"{value:.6g}")


def rounded_tree(node: Any) -> Any:
    """A tree of plain data with every float rounded."""
    if isinstance(node, dict):
        return {key: rounded_tree(value) for key, value in node.items()}
    if isinstance(node, list):
        return [rounded_tree(value) for value in node]
    return rounded(node) if isinstance(node, float) else node
