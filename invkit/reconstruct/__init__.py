"""Reconstructors, by their names in `eval.methods`."""

from invkit.diffusion.model import ConditionalModel
from invkit.errors import RecipeError
from invkit.reconstruct.base import Reconstructor
from invkit.reconstruct.gaussian import Gaussian
from invkit.reconstruct.method import Method, Sources
from invkit.reconstruct.model import Model
from invkit.reconstruct.nearest import Nearest
from invkit.reconstruct.zeroshot import SOLVERS


class NearestMethod(Method):
    """The nearest observed pixel."""

    def build(self, sources: Sources) -> Reconstructor:
        return Nearest()


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training pictures."""

    def build(self, sources: Sources) -> Reconstructor:
        return Gaussian("gaussian", sources.model.prior)


class OracleMethod(Method):
    """The exact posterior, of pictures that are draws of a Gaussian field."""

    def build(self, sources: Sources) -> Reconstructor:
        if sources.law is None:
            raise RecipeError("eval.methods: the row `oracle` needs pictures of a known law, that is data.name=fields")
        return Gaussian("oracle", sources.law)


class UntrainedMethod(Method):
    """The model as it was before its first step: what the fill and the preconditioning do alone."""

    def build(self, sources: Sources) -> Reconstructor:
        model = sources.model
        fresh = ConditionalModel(model.settings, model.diffusion, model.constants, model.precision)
        return Model("untrained", fresh.to(next(model.parameters()).device), sources.sample)


class ModelMethod(Method):
    """The trained model."""

    def build(self, sources: Sources) -> Reconstructor:
        return Model("model", sources.model, sources.sample)


METHODS: dict[str, type[Method]] = {
    "nearest": NearestMethod,
    "gaussian": GaussianMethod,
    "oracle": OracleMethod,
    "untrained": UntrainedMethod,
    "model": ModelMethod,
    **SOLVERS,
}

__all__ = ["METHODS", "Method", "Reconstructor", "Sources"]
