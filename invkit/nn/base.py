"""What a network setting is."""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field
from torch import nn

from invkit.settings import Settings

Fill = Literal["gaussian", "mean", "zero"]


class Network(Settings, ABC):
    """Settings of a model: a fill and a network with `forward(x: (B, in, H, W), embedding: (B, E)) -> (B, out, H, W)`."""

    fill: Fill = Field("gaussian", description="what the model starts from where nothing was seen")

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """E, the size of the noise-level embedding."""

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """A network with random weights and a zero-initialised output."""
