"""95 % intervals over images, or over the photographs that the images were cut from.

A value is a function of means over images. Its jackknife pseudo-values, one for each group, have the value as their mean up
to the bias of the jackknife, so the interval is that of a mean of independent values: Student's t, with quantiles from the
bootstrap (Efron & Tibshirani 1993, sections 11.5 and 12.5), which follow the skewness that few groups leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Metric, SetMetric

RESAMPLES = 2000
CONFIDENCE = 0.95
LEAST = 6  # groups; fewer have no interval
LONGEST = 2.0  # largest bootstrap quantile, in quantiles of Student's t; the smallest is 1
CHUNK = 2_000_000  # random integers drawn at a time
INTERVAL = (
    f"95 % studentised bootstrap ({RESAMPLES} resamples) of jackknife pseudo-values by group, at least as long as that of "
    f"Student's t and at most {LONGEST:g} times; none below {LEAST} groups"
)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Keyed bootstrap resamples of the groups of a set of images, the same for all rows of a table.

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

    @property
    def groups(self) -> int:
        return self.counts.shape[1]

    def mean(self, values: Array) -> Array:
        """Means of values (N,) over all images, then over the images without each group: (1 + G,)."""
        sums, sizes = (np.bincount(self.members, weights, self.groups) for weights in (values, np.ones_like(values)))
        with np.errstate(divide="ignore", invalid="ignore"):
            left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        return np.concatenate([[sums.sum() / sizes.sum()], left_out])

    def values(self, metric: Metric, components: Mapping[str, Array]) -> Array:
        """The metric on all images, then on those without each group: (1 + G,), not finite where it is undefined.

        A `SetMetric` depends on the number of images and is computed on all images only: (1,). Raises Unavailable if undefined.
        """
        if isinstance(metric, SetMetric):
            return np.array([metric.of_set(components)])
        means = {name: self.mean(values) for name, values in components.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            return metric.reduce(means)

    def interval(self, values: Array) -> tuple[float | None, float | None]:
        """The 95 % interval of `values[0]`, of a metric or of a paired difference: `values` or a difference of two.

        (None, None) for fewer than `LEAST` groups, and if the value is undefined without one of the groups.
        """
        count = self.groups
        if count < LEAST or len(values) != 1 + count or not np.isfinite(values).all():
            return None, None
        from scipy.special import stdtrit

        [error], studentised = self._studentised(values[None])
        if error == 0:
            return float(values[0]), float(values[0])
        low, high = np.percentile(studentised[:, 0], [2.5, 97.5])
        student = stdtrit(count - 1, 0.975)
        below, above = np.clip([high, -low], student, LONGEST * student) * error
        return float(values[0] - below), float(values[0] + above)

    def tests(
        self,
        values: Array,  # (M, 1 + G)
    ) -> Array:
        """p-values (M,) of the hypotheses `values[:, 0] = 0`, adjusted for their number: by the studentised bootstrap maximum.

        The probability that any p-value of a true hypothesis is at most p is p, whatever the dependence between the values
        (Westfall & Young 1993, section 2.3: single-step maximum). NaN for fewer than `LEAST` groups, and for values that are
        undefined without one of the groups.
        """
        found = np.full(len(values), np.nan)
        defined = np.isfinite(values).all(1)
        if self.groups < LEAST or values.shape[1] != 1 + self.groups or not defined.any():
            return found
        errors, studentised = self._studentised(values[defined])
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = np.nan_to_num(np.abs(values[defined, 0]) / errors, nan=0.0, posinf=np.inf)
        maxima = np.sort(np.abs(studentised).max(1))
        at_least = len(maxima) - np.searchsorted(maxima, statistics)
        found[defined] = (1 + at_least) / (1 + len(maxima))
        return found

    def _studentised(
        self,
        values: Array,  # (M, 1 + G)
    ) -> tuple[Array, Array]:
        """Standard errors (M,) from jackknife pseudo-values, and studentised means of their resamples about their mean, (R, M)."""
        left_out, count = values[:, 1:].T, self.groups
        deviations = (count - 1) * (left_out.mean(0) - left_out)  # of the pseudo-values from their mean
        error = np.sqrt((deviations**2).mean(0) / (count - 1))
        weights = self.counts / count
        means = weights @ deviations
        errors = np.sqrt(np.maximum(weights @ deviations**2 - means**2, 0) / (count - 1))
        return error, means / np.maximum(np.maximum(errors, 1e-6 * error), np.finfo(float).tiny)
