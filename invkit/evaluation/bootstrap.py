"""Bootstrap intervals over images, or over the photographs that the images were cut from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Metric, SetMetric

RESAMPLES = 2000
CHUNK = 2_000_000  # random integers drawn at a time
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Keyed bootstrap resamples of a set of images, the same for all rows of a table, so that differences are paired.

    Groups are drawn with replacement, as many as there are, because images of one group are not independent.
    """

    members: NDArray[np.intp]  # (N,): group index of each image
    counts: NDArray[np.int64]  # (R, G): number of times each resample contains each group

    @classmethod
    def of(cls, groups: Sequence[str], seed: int, resamples: int = RESAMPLES) -> "Bootstrap":
        """Draw resamples of images with the given group names; they depend on the seed and the number of groups only."""
        order = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        total, step = len(order), max(1, CHUNK // len(order))
        counts = []
        for first in range(0, resamples, step):
            ids = range(first, min(first + step, resamples))
            drawn = Keys.of(seed, "eval/bootstrap", ids).integers("groups", total, total).numpy()
            shifted = drawn + total * np.arange(len(ids))[:, None]
            counts.append(np.bincount(shifted.ravel(), minlength=total * len(ids)).reshape(len(ids), total))
        return cls(np.array([order[name] for name in groups]), np.concatenate(counts))

    @cached_property
    def _weights(self) -> Array:
        """Multiplicities of the groups, (1 + R, G): all ones, then those of each resample."""
        return np.concatenate([np.ones_like(self.counts[:1]), self.counts]).astype(np.float64)

    @cached_property
    def _sizes(self) -> Array:
        return self._weights @ np.bincount(self.members, minlength=self.counts.shape[1])

    def mean(self, values: Array) -> Array:
        """Means of values (N,) over all images, then over each resample: (1 + R,)."""
        return self._weights @ np.bincount(self.members, values, self.counts.shape[1]) / self._sizes

    def values(self, metric: Metric, components: Mapping[str, Array]) -> Array:
        """The metric on all images, then on each resample: (1 + R,), not finite where it is undefined.

        A `SetMetric` is not resampled, because resamples contain duplicates: (1,). Raises Unavailable if undefined.
        """
        if isinstance(metric, SetMetric):
            return np.array([metric.of_set(components)])
        means = {name: self.mean(values) for name, values in components.items()}  # (N,) each
        with np.errstate(divide="ignore", invalid="ignore"):
            return metric.reduce(means)

    def interval(self, values: Array) -> tuple[float | None, float | None]:
        """The central 95 % percentile interval of `values[1:]`; (None, None) if there is only one group or no finite value."""
        finite = values[1:][np.isfinite(values[1:])]
        if self.counts.shape[1] < 2 or not len(finite):
            return None, None
        low, high = np.percentile(finite, [2.5, 97.5])
        return float(low), float(high)
