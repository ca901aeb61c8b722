"""Base classes of reconstructors: maps from measurements to point estimates or posterior samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.data.base import Images
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.measurement import Measurement


class Reconstructor(ABC):
    """Reconstructs images from measurements: a point estimate, or a posterior mean and posterior samples.

    It has no access to the true image. Outputs are float32, in [-1, 1] units, not clipped.
    """

    name: str
    readouts: tuple[str, ...]  # ("point",) or any of ("mean", "sample")

    @abstractmethod
    def nfe(self, readout: str) -> int:
        """Network calls per image for a point or mean estimate, per sample for samples; 0 without a network."""

    @abstractmethod
    def mean(self, measurement: Measurement) -> Tensor:
        """The point estimate or posterior mean (B, C, H, W)."""

    @abstractmethod
    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        """`count` posterior samples of each image, (K, B, C, H, W); keyed by image, so independent of the batch."""


class Renamed(Reconstructor):
    """A reconstructor under another name."""

    def __init__(self, name: str, inner: Reconstructor) -> None:
        self.name, self.readouts, self.inner = name, inner.readouts, inner

    def nfe(self, readout: str) -> int:
        return self.inner.nfe(readout)

    def mean(self, measurement: Measurement) -> Tensor:
        return self.inner.mean(measurement)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return self.inner.sample(measurement, keys, count)


def mask_of(measurement: Measurement, name: str) -> Tensor:
    """The mask (B, 1 or C, H, W) of a measurement. Raises Unavailable if the operator is not a mask."""
    if measurement.observed is None:
        raise Unavailable(f"{name} requires a mask")
    return measurement.observed


OpenTraining = Callable[[Grid, int], Images]  # grid and maximum number of images, to training images


@dataclass(frozen=True)
class Sources:
    """The objects available to `Method.build`."""

    model: ConditionalModel  # trained
    sample: Sample  # the recipe's sampler
    law: GaussianField | GaussianMixture | None = None  # the true distribution of the images, if known
    priors: Mapping[str, ConditionalModel] = field(default_factory=dict)  # unconditional models, by run folder
    training: OpenTraining | None = None  # opens the training split on demand
    grids: tuple[Grid, ...] = ()  # of the evaluation


class Method(Settings, ABC):
    """Settings of a reconstructor."""

    kind: ClassVar[str] = "method"

    @abstractmethod
    def build(self, sources: Sources) -> Reconstructor:
        """The reconstructor. Raises RecipeError if `sources` lacks something it requires."""


class PointEstimate(Method, Reconstructor):
    """A reconstructor with a point estimate only; settings and reconstructor are one class."""

    name: ClassVar[str]  # type: ignore[misc]  # a class attribute, not a setting
    readouts: ClassVar[tuple[str, ...]] = ("point",)  # type: ignore[misc]

    def build(self, sources: Sources) -> Self:
        return self

    def nfe(self, readout: str) -> int:
        return 0

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise NotImplementedError(f"{self.name} has a point estimator only")
