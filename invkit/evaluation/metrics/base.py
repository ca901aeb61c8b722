"""Base classes of metrics: per-image components, and a value computed from their means."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.measurement import Measurement

Readout = Literal["point", "mean", "sample"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of one row of the table for a batch of images, with the truth; all in [-1, 1] units, unclipped."""

    truth: Tensor  # (B, C, H, W)
    measurement: Measurement
    readout: Readout
    estimate: Tensor  # (B, C, H, W): point estimate or mean; for a sample row, the first sample
    samples: Tensor | None = None  # (K, B, C, H, W), for a sample row only
    mean: Tensor | None = None  # (B, C, H, W): posterior mean computed by the same method, if it does
    law: GaussianField | GaussianMixture | None = None  # the true distribution of the images, if known

    @cached_property
    def weight(self) -> Tensor:
        """Pixels over which uncertainty is evaluated, (B, C, H, W) in {0, 1}: the hidden pixels of a mask, else all."""
        if self.measurement.observed is None:
            return torch.ones_like(self.truth)
        return (~self.measurement.observed).to(self.truth).expand_as(self.truth)

    @cached_property
    def pictures(self) -> tuple[Tensor, Tensor]:
        """Estimate and truth on [0, 1], clipped, with exactly observed pixels pasted in; (B, C, H, W) float64."""
        return unit(self.measurement.paste(self.estimate)).clamp(0, 1), unit(self.truth).clamp(0, 1)

    @cached_property
    def ordered(self) -> Tensor:
        """The samples sorted at each pixel: (K, B, C, H, W)."""
        assert self.samples is not None
        return self.samples.sort(0).values

    def total(self, values: Tensor) -> Tensor:
        """Sum of values (B, C, H, W) over the pixels of `weight`: (B,) float64."""
        return (values.double() * self.weight).sum((1, 2, 3))

    def mean_of(self, values: Tensor) -> dict[str, Tensor]:
        """Components `sum` and `count` of the mean of `values` over the pixels of `weight`, pooled over images."""
        return {"sum": self.total(values), "count": self.weight.double().sum((1, 2, 3))}


def unit(x: Tensor) -> Tensor:
    """Map [-1, 1] to [0, 1], in float64."""
    return (x.double() + 1) / 2


Means = Mapping[str, NDArray[np.float64]]


class Metric(Settings, ABC):
    """A column of the table: per-image components, whose means over images are reduced to the value.

    Intervals also average the components before `reduce`, so ratios are ratios of pooled means.
    """

    kind: ClassVar[str] = "metric"
    better: ClassVar[Literal["higher", "lower"] | None] = None  # None: there is an optimal value, or no preference

    @abstractmethod
    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        """Components of each image, (B,) float64 each, with the same names in every call.

        Raises Unavailable if the metric is not defined for the outcome.
        """

    def reduce(self, means: Means) -> NDArray[np.float64]:
        """The value from the means of the components over images; not finite where undefined.

        The means may be arrays of any shape; the value is computed for each element.

        The default is `sum / count`.
        """
        return means["sum"] / means["count"]


class SetMetric(Metric, ABC):
    """A metric of a set of images that is not a function of means; it has no interval and no per-image value.

    Its components have shape (B, D).
    """

    @abstractmethod
    def of_set(self, components: Means) -> float:
        """The value from the components of all images, (N, D) each. Raises Unavailable if undefined."""

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.full(len(next(iter(means.values()))), np.nan)
