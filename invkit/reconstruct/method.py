"""Settings of a row of the table, and what a row may be built from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.field import GaussianField
from invkit.grid import Grid
from invkit.reconstruct.base import Reconstructor
from invkit.reconstruct.lmmse import Opened
from invkit.settings import Settings


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
