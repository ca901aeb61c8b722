"""Reconstructors, by their names in `eval.methods`."""

from pydantic import Field

from invkit.diffusion.model import ConditionalModel
from invkit.errors import RecipeError
from invkit.reconstruct.base import Reconstructor
from invkit.reconstruct.biharmonic import Biharmonic
from invkit.reconstruct.gaussian import Gaussian
from invkit.reconstruct.linear import Linear
from invkit.reconstruct.lmmse import Lmmse, check_size
from invkit.reconstruct.method import Method, Sources
from invkit.reconstruct.model import Model, Silent
from invkit.reconstruct.nearest import Nearest
from invkit.reconstruct.pinv import PseudoInverse
from invkit.reconstruct.tv import TotalVariation
from invkit.reconstruct.zeroshot import SOLVERS


class GaussianMethod(Method):
    """The posterior of the Gaussian field fitted to the training pictures."""

    def build(self, sources: Sources) -> Reconstructor:
        return Gaussian("gaussian", sources.model.prior)


class LmmseMethod(Method):
    """The linear estimate of least mean square error, by the full covariance of the training pictures (32x32 at most)."""

    pictures: int = Field(10_000, ge=2, description="training pictures for mean and covariance, the first of the split")

    def build(self, sources: Sources) -> Reconstructor:
        if sources.training is None:
            raise RecipeError(
                "eval.methods: the row `lmmse` needs training pictures, and none are at hand; leave it out"
            )
        for grid in sources.grids:
            check_size(grid)
        return Lmmse(sources.training, self.pictures)


class OracleMethod(Method):
    """The exact posterior, of pictures that are draws of a Gaussian field."""

    def build(self, sources: Sources) -> Reconstructor:
        if sources.law is None:
            raise RecipeError("eval.methods: the row `oracle` needs pictures of a known law, that is data.name=fields")
        return Gaussian("oracle", sources.law)


class UntrainedMethod(Method):
    """The model as it was before its first step: what the fill and the preconditioning do alone, without a network."""

    def build(self, sources: Sources) -> Reconstructor:
        model = sources.model
        fresh = ConditionalModel(model.settings, model.diffusion, model.constants, model.precision)
        fresh.network = Silent(model.channels)  # what a new network returns as well, in all its time
        return Model("untrained", fresh.to(next(model.parameters()).device), sources.sample)


class ModelMethod(Method):
    """The trained model."""

    def build(self, sources: Sources) -> Reconstructor:
        return Model("model", sources.model, sources.sample)


METHODS: dict[str, type[Method]] = {
    "nearest": Nearest,
    "gaussian": GaussianMethod,
    "linear": Linear,
    "biharmonic": Biharmonic,
    "pinv": PseudoInverse,
    "tv": TotalVariation,
    "lmmse": LmmseMethod,
    "oracle": OracleMethod,
    "untrained": UntrainedMethod,
    "model": ModelMethod,
    **SOLVERS,
}

__all__ = ["METHODS", "Method", "Reconstructor", "Sources"]
