"""Priors of zero-shot solvers in a recipe: trained models, and denoisers in closed form."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.settings import PRETRAINED, PathSetting, Settings, absolute
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.reconstructors.base import Sources
from invkit.reconstructors.gaussian import known_law
from invkit.reconstructors.zeroshot.closed_form import FieldPrior, MixturePrior, WhiteNoisePrior
from invkit.reconstructors.zeroshot.prior import Prior, TrainedPrior

P = TypeVar("P", bound=WhiteNoisePrior)


class ImagePrior(Settings, ABC):
    """Settings of a prior of images, for zero-shot solvers."""

    kind: ClassVar[str] = "prior"
    texts: ClassVar[str] = (
        "a model trained on the degradation `nothing`: run folder, file of `invkit export`, or pretrained:NAME"
    )
    learned: ClassVar[bool] = True  # compared with the linear denoiser before it is used

    @abstractmethod
    def build(self, sources: Sources) -> Prior:
        """The prior. Raises RecipeError if `sources` lacks something it requires, DataError if a file cannot be used."""


class Model(ImagePrior, ABC):
    """A model that was trained on the degradation `nothing`."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Path or name of the model."""

    def build(self, sources: Sources) -> Prior:
        if self.source not in sources.priors:
            raise RecipeError(f"the model {self.source} is not loaded")
        return TrainedPrior(sources.priors[self.source])


class Run(Model):
    """A run or a file of `invkit export` that was trained on the degradation `nothing`; `prior: PATH` is short for it."""

    path: PathSetting = Field(min_length=1, description="run folder, or file of `invkit export`")

    @property
    def source(self) -> str:
        return self.path


class Pretrained(Model):
    """A prior that ships with invkit; `prior: pretrained:MODEL` is short for it, and `invkit models` lists them."""

    model: str = Field(min_length=1, description="name of the model, such as photos-prior")

    @property
    def source(self) -> str:
        return PRETRAINED + self.model


class Gaussian(ImagePrior):
    """The linear denoiser of the field that is fitted to the training images, in closed form."""

    learned: ClassVar[bool] = False

    def build(self, sources: Sources) -> Prior:
        return white(FieldPrior, sources, sources.model.prior)


class Oracle(ImagePrior):
    """The exact denoiser of images with a known distribution, in closed form."""

    learned: ClassVar[bool] = False

    def build(self, sources: Sources) -> Prior:
        law, grid = known_law(sources, "`oracle`"), reference(sources)
        if any(component.field.margin(grid) for component in law.components):
            raise RecipeError("`oracle` requires fields without padding")
        return white(MixturePrior, sources, law)


def reference(sources: Sources) -> Grid:
    """The grid on which the pixel standard deviation of the images is the unit of noise levels."""
    cells = sources.model.constants.reference
    return Grid(cells, cells, sources.model.channels)


def white(cls: type[P], sources: Sources, data: GaussianField | GaussianMixture) -> P:
    """A prior with white noise, in the units of the images of `sources`."""
    return cls.white(data, reference(sources))


WRITTEN: dict[str, type[ImagePrior]] = {"gaussian": Gaussian, "oracle": Oracle}


def _written(value: object, info: ValidationInfo) -> object:
    """A prior that is written as a text: a name, or a trained model."""
    if not isinstance(value, str) or (info.context is not None and value in info.context.registry.names("prior")):
        return value
    if value in WRITTEN:
        return WRITTEN[value]()
    if value.startswith(PRETRAINED):
        return Pretrained(model=value.removeprefix(PRETRAINED))
    return Run(path=absolute(value, info))


PriorSetting = Annotated[ImagePrior, BeforeValidator(_written)]
