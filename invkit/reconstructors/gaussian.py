"""Posteriors in closed form: of the fitted Gaussian field, a linear baseline, and of the images' own distribution, if known."""

from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources


class Gaussian(Reconstructor):
    """Kriging mean and exact posterior samples under `field`."""

    name, readouts = "gaussian", ("mean", "sample")

    def __init__(self, field: GaussianField) -> None:
        self.field = field

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return GaussianPosterior(self.field, measurement).mean()

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return GaussianPosterior(self.field, measurement).sample(keys, count)


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training images."""

    def build(self, sources: Sources) -> Reconstructor:
        return Gaussian(sources.model.prior)


class Oracle(Reconstructor):
    """Mean and samples of the exact posterior under a mixture of Gaussian fields, or one field."""

    name, readouts = "oracle", ("mean", "sample")

    def __init__(self, law: GaussianMixture) -> None:
        self.law = law

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return MixturePosterior(self.law, measurement).mean()

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return MixturePosterior(self.law, measurement).sample(keys, count)


class OracleMethod(Method):
    """The exact posterior of images that are samples of a Gaussian field or of a mixture of fields."""

    def build(self, sources: Sources) -> Reconstructor:
        return Oracle(known_law(sources, "eval.methods: the method `oracle`"))


def known_law(sources: Sources, what: str) -> GaussianMixture:
    """The distribution of the images. Raises RecipeError if it is not known."""
    if sources.law is None:
        raise RecipeError(
            f"{what} requires images with a known distribution: data.name=fields, mixture-fields or heavy-tailed-fields"
        )
    return GaussianMixture.of(sources.law)
