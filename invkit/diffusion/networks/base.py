"""The settings that every network has."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import StationaryField

Fill = Literal["gaussian", "mean", "zero"]


class Network(Settings, ABC):
    """Settings of a model: an initial estimate, and a network.

    The network is `forward(x: (B, in, h, w), embedding: (B, E), seed: scalar tensor or None) -> (B, out, h, w)`. Random numbers,
    as of dropout, come from a generator seeded with `seed`; without a seed there are none.
    """

    kind: ClassVar[str] = "network"

    fill: Fill = Field(
        "gaussian", description="initial estimate: posterior mean under a Gaussian prior, mean colour, or zero"
    )
    prior: StationaryField | None = Field(
        None,
        description="prior covariance of a gaussian initial estimate; null: fitted to the training images",
    )

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """E, the size of the noise-level embedding."""

    @property
    def capturable(self) -> bool:
        """Whether a call in training ignores the seed and can be captured as a CUDA graph."""
        return False

    @abstractmethod
    def working(self, grid: Grid, reference: int, zoom: float = 1.0) -> tuple[int, int]:
        """The network's grid (h, w) for images on `grid`, finer by `zoom`.

        `reference` is the number of cells along the shorter side of the finest training grid.
        """

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """A network with random weights and a zero-initialised output."""
