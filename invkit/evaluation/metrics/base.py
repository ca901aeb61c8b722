"""What a metric is: components of every picture, and a value from their means."""

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
from invkit.physics.measurement import Measurement

Readout = Literal["point", "mean", "sample"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one row of the table made of one batch of pictures, beside the truth. All in [-1, 1] units, unclipped."""

    truth: Tensor  # (B, C, H, W)
    measurement: Measurement
    readout: Readout
    estimate: Tensor  # (B, C, H, W): the point or the mean; of a sample row the first sample
    samples: Tensor | None = None  # (K, B, C, H, W), only of a sample row
    mean: Tensor | None = None  # (B, C, H, W): the posterior mean that the same method reads out, where it does

    @cached_property
    def weight(self) -> Tensor:
        """Where uncertainty is judged, (B, C, H, W) in {0, 1}: the hidden pixels of a mask, else all."""
        if self.measurement.observed is None:
            return torch.ones_like(self.truth)
        return (~self.measurement.observed).to(self.truth).expand_as(self.truth)

    @cached_property
    def pictures(self) -> tuple[Tensor, Tensor]:
        """Estimate and truth as shown: what was seen exactly pasted in, clipped, on [0, 1]; (B, C, H, W) float64."""
        return unit(self.measurement.paste(self.estimate)).clamp(0, 1), unit(self.truth).clamp(0, 1)

    @cached_property
    def ordered(self) -> Tensor:
        """The samples in order at every pixel: (K, B, C, H, W)."""
        assert self.samples is not None
        return self.samples.sort(0).values

    def total(self, values: Tensor) -> Tensor:
        """Sum of values (B, C, H, W) over the pixels of `weight`: (B,) float64."""
        return (values.double() * self.weight).sum((1, 2, 3))

    def mean_of(self, values: Tensor) -> dict[str, Tensor]:
        """Components of a mean over the pixels of `weight`, pooled over pictures."""
        return {"sum": self.total(values), "count": self.weight.double().sum((1, 2, 3))}


def unit(x: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1], in float64."""
    return (x.double() + 1) / 2


Means = Mapping[str, NDArray[np.float64]]


class Metric(Settings, ABC):
    """A number of the table: per-picture components, of which means over pictures reduce to the value.

    The bootstrap redraws the components and never pools anything but means, so ratios are ratios of pooled means.
    """

    kind: ClassVar[str] = "metric"
    better: ClassVar[Literal["higher", "lower"] | None] = None  # None: there is a right value, or none at all

    @abstractmethod
    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        """Components of every picture, (B,) float64 each, always under the same names.

        Raises Unavailable where the metric has no meaning for such a row.
        """

    def reduce(self, means: Means) -> NDArray[np.float64]:
        """The value from means over pictures, elementwise for arrays of any shape; not finite where it has none.

        As given: `sum` over `count`.
        """
        return means["sum"] / means["count"]


class SetMetric(Metric, ABC):
    """A number of a set of pictures that no means over it reduce to: without an interval, or a value for one picture.

    Its components are (B, D).
    """

    @abstractmethod
    def of_set(self, components: Means) -> float:
        """The value from the components of all pictures, (N, D) each. Raises Unavailable."""

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.full(len(next(iter(means.values()))), np.nan)
