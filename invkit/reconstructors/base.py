"""What every reconstructor is: measurements in, an estimate or samples out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
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
from invkit.physics.operators.base import LinearOperator


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


class ConstantColour:
    """The fit of a constant colour to measured values, least squares and of least norm, for each of a batch.

    With `N = A 1_c` the image of the constant picture of one channel, the colour is `N+ y`.
    """

    def __init__(self, operator: LinearOperator, like: Tensor) -> None:
        channels, picture = operator.grid.channels, (len(operator), *operator.grid.picture)
        units = torch.eye(channels, dtype=like.dtype, device=like.device)[:, None, :, None, None].expand(-1, *picture)
        self._images = torch.stack([operator.forward(unit.contiguous()).flatten(1) for unit in units], 1)  # (B, C, M)
        self._inverse = torch.linalg.pinv(self._images @ self._images.mT, rtol=1e-5, hermitian=True)

    def fit(self, y: Tensor) -> Tensor:
        """`N+ y`: (B, *range_shape) to (B, C)."""
        return (self._inverse @ (self._images @ y.flatten(1)[:, :, None]))[..., 0]

    def to_user_error(self, y: Tensor) -> Tensor:
        """`N N+ y`, what the constant picture explains of y (B, *range_shape)."""
        return (self.fit(y)[:, None] @ self._images).view_as(y)
