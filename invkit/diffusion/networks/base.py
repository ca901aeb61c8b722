"""What a network setting is."""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field
from torch import nn

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import StationaryField

Fill = Literal["gaussian", "mean", "zero"]


class Network(Settings, ABC):
    """Settings of a model: a fill and a network with `forward(x: (B, in, h, w), embedding: (B, E)) -> (B, out, h, w)`."""

    fill: Fill = Field("gaussian", description="what the model starts from where nothing was seen")
    prior: StationaryField | None = Field(
        None,
        description="field behind a gaussian fill, trusted on the grids of the training; null: fitted to its pictures",
    )

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """E, the size of the noise-level embedding."""

    @abstractmethod
    def working(self, grid: Grid, reference: int, zoom: float = 1.0) -> tuple[int, int]:
        """The grid (h, w) it works on for pictures on `grid`; `reference` cells were trained along the shorter side.

        With `zoom` that many times as fine, for what is as much finer than in training.
        """

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """A network with random weights and a zero-initialised output."""
