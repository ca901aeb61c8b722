"""Intervals by the bootstrap, over pictures or over the photographs that pictures were cut from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Metric, SetMetric

RESAMPLES = 2000
CHUNK = 2_000_000  # draws at a time

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The keyed resamples of some pictures; every row of the table is computed on the same ones, so rows pair.

    Whole groups are drawn with replacement, as many as there are: pictures that share one are not independent.
    """

    members: NDArray[np.intp]  # (N,): the group of every picture
    counts: NDArray[np.int64]  # (R, G): how often each resample drew each group

    @classmethod
    def of(cls, groups: Sequence[str], seed: int, resamples: int = RESAMPLES) -> "Bootstrap":
        """Resamples of pictures whose groups are named, a function of the seed and the number of groups."""
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
        """How often each group counts, all once and then as drawn: (1 + R, G)."""
        return np.concatenate([np.ones_like(self.counts[:1]), self.counts]).astype(np.float64)

    @cached_property
    def _sizes(self) -> Array:
        return self._weights @ np.bincount(self.members, minlength=self.counts.shape[1])

    def mean(self, values: Array) -> Array:
        """The mean of values (N,) over all pictures, then over every resample: (1 + R,)."""
        return self._weights @ np.bincount(self.members, values, self.counts.shape[1]) / self._sizes

    def values(self, metric: Metric, components: Mapping[str, Array]) -> Array:
        """A metric of all pictures, then of every resample: (1 + R,), not finite where it has no value.

        A metric of the set alone is not resampled, (1,): a picture that is drawn twice is no set. Raises Unavailable.
        """
        if isinstance(metric, SetMetric):
            return np.array([metric.of_set(components)])
        means = {name: self.mean(values) for name, values in components.items()}  # (N,) each
        with np.errstate(divide="ignore", invalid="ignore"):
            return metric.reduce(means)

    def interval(self, values: Array) -> tuple[float | None, float | None]:
        """The central 95 % of `values[1:]` by percentiles; none where nothing varies because there is one group."""
        finite = values[1:][np.isfinite(values[1:])]
        if self.counts.shape[1] < 2 or not len(finite):
            return None, None
        low, high = np.percentile(finite, [2.5, 97.5])
        return float(low), float(high)
