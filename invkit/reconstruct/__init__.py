"""Reconstructors, by their names in `eval.methods`."""

from abc import ABC, abstractmethod

from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.reconstruct.base import Reconstructor
from invkit.reconstruct.gaussian import Gaussian
from invkit.reconstruct.model import Model
from invkit.reconstruct.nearest import Nearest
from invkit.settings import Settings


class Method(Settings, ABC):
    """Settings of a row of the table."""

    @abstractmethod
    def build(self, model: ConditionalModel, sample: Sample) -> Reconstructor:
        """The reconstructor, from a trained model and the recipe's sampler."""


class NearestMethod(Method):
    """The nearest observed pixel."""

    def build(self, model: ConditionalModel, sample: Sample) -> Reconstructor:
        return Nearest()


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training pictures."""

    def build(self, model: ConditionalModel, sample: Sample) -> Reconstructor:
        return Gaussian(model.prior)


class ModelMethod(Method):
    """The trained model."""

    def build(self, model: ConditionalModel, sample: Sample) -> Reconstructor:
        return Model(model, sample)


METHODS: dict[str, type[Method]] = {"nearest": NearestMethod, "gaussian": GaussianMethod, "model": ModelMethod}

__all__ = ["METHODS", "Method", "Reconstructor"]
