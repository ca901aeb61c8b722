"""What a row of the table is: a reconstructor."""

from abc import ABC, abstractmethod

from torch import Tensor

from invkit.degradation import Measurement
from invkit.keys import Keys
from invkit.metrics.base import Unavailable


class Reconstructor(ABC):
    """Rebuilds pictures from measurements: a point estimate, or a posterior mean and posterior samples.

    It sees the measurement and nothing else of the truth. Outputs are unclipped, float32, in [-1, 1] units.
    """

    name: str
    readouts: tuple[str, ...]  # ("point",) or any of ("mean", "sample")

    @abstractmethod
    def nfe(self, readout: str) -> int:
        """Network calls per picture for a point or mean, per sample for a sample; 0 without a network."""

    @abstractmethod
    def mean(self, measurement: Measurement) -> Tensor:
        """The point estimate or posterior mean: (B, C, H, W)."""

    @abstractmethod
    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        """`count` posterior samples of each picture: (K, B, C, H, W); keyed by picture, whatever the batch cut."""


def mask_of(measurement: Measurement, name: str) -> Tensor:
    """The mask (B, 1 or C, H, W) that a row reads. Raises Unavailable where the operator is none."""
    if measurement.observed is None:
        raise Unavailable(f"{name} is made for masks")
    return measurement.observed
