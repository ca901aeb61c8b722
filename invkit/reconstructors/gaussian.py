"""The posterior of a Gaussian field: a linear baseline, exact if the images are samples of the field."""

from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources


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


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training images."""

    def build(self, sources: Sources) -> Reconstructor:
        return Gaussian("gaussian", sources.model.prior)


class OracleMethod(Method):
    """The exact posterior of images that are samples of a Gaussian field."""

    def build(self, sources: Sources) -> Reconstructor:
        if sources.law is None:
            raise RecipeError(
                "eval.methods: the method `oracle` requires images with a known distribution: data.name=fields"
            )
        return Gaussian("oracle", sources.law)
