"""The unit of the values of an input: what means -1 and 1 in the images of the training."""

from dataclasses import dataclass

from torch import Tensor

from invkit.physics.measurement import Measurement


@dataclass(frozen=True)
class Unit:
    """Pixel values `low` and `high` mean -1 and 1.

    >>> import torch
    >>> celsius = Unit(10.0, 30.0)
    >>> celsius.values(torch.tensor([-1.0, 0.0, 1.0])), celsius.scale
    (tensor([10., 20., 30.]), 10.0)
    """

    low: float = -1.0
    high: float = 1.0

    @property
    def scale(self) -> float:
        """The factor on differences and standard deviations."""
        return (self.high - self.low) / 2

    def values(self, x: Tensor) -> Tensor:
        return x if (self.low, self.high) == (-1.0, 1.0) else (self.low + self.high) / 2 + self.scale * x

    def measured(self, measurement: Measurement) -> Tensor:
        """The values of a measurement, A applied to an image in this unit: (B, *range_shape)."""
        ones = measurement.operator.forward(measurement.y.new_ones(len(measurement), *measurement.grid.picture))
        return self.scale * measurement.y + (self.low + self.high) / 2 * ones


PIXELS = Unit()  # of image files, whose black is -1 and whose white is 1
