"""The posterior of a Gaussian field: the linear baseline, and the truth where the pictures are draws of the field."""

from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.degradation import Measurement
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.reconstructors.base import Reconstructor


class Gaussian(Reconstructor):
    """Kriging mean and exact posterior samples under `field`."""

    readouts = ("mean", "sample")

    def __init__(self, name: str, field: GaussianField) -> None:
        self.name, self.field = name, field

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return GaussianPosterior(self.field, measurement).mean()

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return GaussianPosterior(self.field, measurement).sample(keys, count)
