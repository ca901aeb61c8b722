"""The linear baseline: the posterior of a Gaussian field fitted to the training pictures."""

from torch import Tensor

from invkit.degradation import Measurement
from invkit.field import GaussianField
from invkit.gaussian import GaussianPosterior
from invkit.keys import Keys
from invkit.reconstruct.base import Reconstructor


class Gaussian(Reconstructor):
    """Kriging mean and exact posterior samples under `field`."""

    name = "gaussian"
    readouts = ("mean", "sample")

    def __init__(self, field: GaussianField) -> None:
        self.field = field

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return GaussianPosterior(self.field, measurement).mean()

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return GaussianPosterior(self.field, measurement).sample(keys, count)
