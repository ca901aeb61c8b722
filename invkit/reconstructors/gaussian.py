"""Posteriors in closed form: of the fitted Gaussian field, a linear baseline, and of the images' own distribution, if known."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.keys import Keys
from invkit.physics.gaussian.laplace import LaplacePosterior, posterior_of
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources


class ClosedForm(Reconstructor):
    """Mean and exact samples of the posterior that a distribution of images gives to a measurement."""

    readouts = ("mean", "sample")

    def __init__(
        self, name: str, posterior: Callable[[Measurement], GaussianPosterior | LaplacePosterior | MixturePosterior]
    ) -> None:
        self.name, self.posterior = name, posterior

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return self.posterior(measurement).mean()

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return self.posterior(measurement).sample(keys, count)


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training images (kriging, Matheron 1963); approximated if not linear."""

    def build(self, sources: Sources) -> Reconstructor:
        return ClosedForm("gaussian", partial(posterior_of, sources.model.prior))


class OracleMethod(Method):
    """The exact posterior of images that are samples of a Gaussian field or of a mixture of fields."""

    def build(self, sources: Sources) -> Reconstructor:
        law = known_law(sources, "eval.methods: the method `oracle`")
        return ClosedForm("oracle", partial(MixturePosterior, law))


def known_law(sources: Sources, what: str) -> GaussianMixture:
    """The distribution of the images. Raises RecipeError if it is not known."""
    if sources.law is None:
        raise RecipeError(
            f"{what} requires images with a known distribution: data.name=fields, mixture-fields or heavy-tailed-fields"
        )
    return GaussianMixture.of(sources.law)
