"""Base classes of metrics: per-image components, and a value computed from their means."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.measurement import Measurement

Readout = Literal["point", "mean", "sample"]
Block = Annotated[int, Field(ge=1)] | Literal["all"]  # side in pixels, or the whole image


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
    exact: Tensor | None = None  # (K, B, C, H, W): samples of the exact posterior, if a row of the table draws them
    uncertain: Tensor | None = None  # (B, C, h, w): blocks with hidden pixels, if the other tensors are means of blocks

    @cached_property
    def weight(self) -> Tensor:
        """Pixels over which uncertainty is evaluated, (B, C, H, W) in {0, 1}: the hidden pixels of a mask, else all."""
        if self.uncertain is not None:
            return self.uncertain.to(self.truth)
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

    def blocks(self, size: Block) -> "Outcome":
        """The outcome of the means over blocks of `size` x `size` pixels, or of the whole image; evaluated with the same formulas.

        Blocks are counted from the upper left; what is left at the other borders and fills no block is left out. Exactly
        observed pixels have their value in the mean, and a block without hidden pixels is not evaluated. Raises Unavailable if
        no block fits.
        """
        if size == 1:
            return self
        if size not in self._blocks:
            height, width = self.truth.shape[-2:]
            if size != "all" and size > min(height, width):
                raise Unavailable(f"blocks of {size}x{size} do not fit into {height}x{width}")

            def means(x: Tensor) -> Tensor:
                return block_means(self.measurement.paste(x), size)

            self._blocks[size] = replace(
                self,
                truth=means(self.truth),
                estimate=means(self.estimate),
                samples=None if self.samples is None else means(self.samples),
                mean=None if self.mean is None else means(self.mean),
                uncertain=block_means(self.weight, size) > 0,
            )
        return self._blocks[size]

    @cached_property
    def _blocks(self) -> dict[Block, "Outcome"]:
        return {}

    def total(self, values: Tensor) -> Tensor:
        """Sum of values (B, C, H, W) over the pixels of `weight`: (B,) float64."""
        return (values.double() * self.weight).sum((1, 2, 3))

    def mean_of(self, values: Tensor) -> dict[str, Tensor]:
        """Components `sum` and `count` of the mean of `values` over the pixels of `weight`, pooled over images."""
        return {"sum": self.total(values), "count": self.weight.double().sum((1, 2, 3))}


def block_means(
    x: Tensor,  # (..., H, W)
    size: Block,
) -> Tensor:
    """Means over blocks, (..., h, w) float64.

    >>> block_means(torch.arange(6.0).view(2, 3), 2), block_means(torch.arange(6.0).view(2, 3), "all")
    (tensor([[2.]], dtype=torch.float64), tensor([[2.5000]], dtype=torch.float64))
    """
    if size == "all":
        return x.mean((-2, -1), True, dtype=torch.float64)
    height, width = (n // size for n in x.shape[-2:])
    cut = x[..., : height * size, : width * size].unflatten(-1, (width, size)).unflatten(-3, (height, size))
    return cut.mean((-3, -1), dtype=torch.float64)


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


class BlockMetric(Metric, ABC):
    """A metric of pixels, or with `block` of the means over blocks; its column is `NAME@BLOCK`, and just NAME for pixels."""

    block: Block = Field(
        1, description="side in pixels of the blocks whose means are evaluated, or all: the whole image"
    )

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        return self.of_values(outcome.blocks(self.block))

    @abstractmethod
    def of_values(self, outcome: Outcome) -> dict[str, Tensor]:
        """As `components`, of an outcome whose values are pixels or means of blocks."""


def column(name: str, metric: Metric) -> str:
    """The name in the table of a metric registered as `name`; `parted` is the inverse."""
    return f"{name}@{metric.block}" if isinstance(metric, BlockMetric) and metric.block != 1 else name


def parted(name: str) -> tuple[str, dict[str, int | str]]:
    """The registered name and the settings of a column.

    >>> parted("crps@16"), parted("crps@all"), parted("crps")
    (('crps', {'block': 16}), ('crps', {'block': 'all'}), ('crps', {}))
    """
    name, at, block = name.partition("@")
    return name, {"block": int(block) if block.isdecimal() else block} if at else {}


class SetMetric(Metric, ABC):
    """A metric of a set of images that is not a function of means; it has no interval and no per-image value.

    Its components have shape (B, D).
    """

    @abstractmethod
    def of_set(self, components: Means) -> float:
        """The value from the components of all images, (N, D) each. Raises Unavailable if undefined."""

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.full(len(next(iter(means.values()))), np.nan)
