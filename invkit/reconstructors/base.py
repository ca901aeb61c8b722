"""What every reconstructor is: measurements in, an estimate or samples out."""

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
from invkit.physics.measurement import Measurement


class Reconstructor(ABC):
    """Rebuilds pictures from measurements: a point estimate, or a posterior mean and posterior samples.

    It sees the measurement and nothing else of the truth. Outputs are unclipped, float32, in [-1, 1] units.
    """

    name: str
    readouts: tuple[str, ...]  # ("point",) or any of ("mean", "sample")

    @abstractmethod
    def nfe(self, readout: str) -> int:
        """Network calls per picture for a point or mean, per sample for a sample; 0 without a network."""

    @abstractmethod
    def mean(self, measurement: Measurement) -> Tensor:
        """The point estimate or posterior mean: (B, C, H, W)."""

    @abstractmethod
    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        """`count` posterior samples of each picture: (K, B, C, H, W); keyed by picture, whatever the batch cut."""


def mask_of(measurement: Measurement, name: str) -> Tensor:
    """The mask (B, 1 or C, H, W) that a row reads. Raises Unavailable where the operator is none."""
    if measurement.observed is None:
        raise Unavailable(f"{name} is made for masks")
    return measurement.observed


Opened = Callable[[Grid, int], Images]  # at most so many pictures of the training split on a grid


@dataclass(frozen=True)
class Sources:
    """What a row may be built from."""

    model: ConditionalModel  # trained
    sample: Sample  # the recipe's sampler
    law: GaussianField | None = None  # that of the pictures, where it is known
    priors: Mapping[str, ConditionalModel] = field(default_factory=dict)  # by run folder: trained on `nothing`
    training: Opened | None = None  # opens the training split, when a row asks for it
    grids: tuple[Grid, ...] = ()  # of the table


class Method(Settings, ABC):
    """Settings of a row of the table."""

    kind: ClassVar[str] = "method"

    @abstractmethod
    def build(self, sources: Sources) -> Reconstructor:
        """The reconstructor. Raises RecipeError where what it needs is not there."""


class PointEstimate(Method, Reconstructor):
    """A reconstructor without a network and without a law: one picture for each measurement. It is its own settings."""

    name: ClassVar[str]  # type: ignore[misc]  # of the class, no setting
    readouts: ClassVar[tuple[str, ...]] = ("point",)  # type: ignore[misc]

    def build(self, sources: Sources) -> Self:
        return self

    def nfe(self, readout: str) -> int:
        return 0

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise NotImplementedError(f"{self.name} has a point readout only")
