"""Samples of Gaussian fields and of their mixtures: data sets whose posterior is known in closed form."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.data.base import Dataset, Images, Split
from invkit.physics.gaussian import GaussianField, MaternField, StationaryField
from invkit.physics.gaussian.mixture import Component, GaussianMixture


@dataclass(frozen=True, eq=False)
class FieldDraws(Images):
    """Images sampled on access; the same id on a finer grid is the same sample, refined."""

    law: GaussianField | GaussianMixture
    split: Split
    grid: Grid
    seed: int
    count: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.law.sample(Keys.of(self.seed, f"fields/{self.split}", list(ids)), self.grid)

    def group(self, image_id: int) -> str:
        return f"draw {image_id}"


class SampledImages(Dataset, ABC):
    """Samples of a known distribution at any resolution; values are not bounded to [-1, 1]."""

    train_size: int = Field(65536, ge=1, description="images in the training split")
    test_size: int = Field(1024, ge=1, description="images in the test split")
    colors: int = Field(3, ge=1, le=16, description="channels of an image")

    @property
    def channels(self) -> int:
        return self.colors

    @abstractmethod
    def law(self) -> GaussianField | GaussianMixture: ...

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        count = self.train_size if split == "train" else self.test_size
        return FieldDraws(self.law(), split, grid, seed, min(count, limit or count))


class Fields(SampledImages):
    """Samples of a Gaussian field at any resolution; values are not bounded to [-1, 1]."""

    mirrored: ClassVar[bool] = True
    field: StationaryField = Field(
        MaternField(std=0.5, length=0.25, exponent=2.5, color=0.5), description="distribution of the images"
    )

    def law(self) -> GaussianField:
        return self.field


class FieldComponent(Settings):
    """A component of a mixture: a Gaussian field about a mean image."""

    field: StationaryField = Field(
        MaternField(std=0.15, length=0.1, exponent=2.0), description="distribution about the mean image"
    )
    mean: tuple[tuple[int, int, float], ...] = Field(
        (),
        description="cosine waves of which the mean image is the sum: half-cycles along height and width, and amplitude; "
        "[[0, 0, 0.2]] is the constant 0.2",
    )
    weight: float = Field(1.0, gt=0, description="probability relative to that of the other components")


DEFAULT = (
    FieldComponent(mean=((0, 0, 0.15), (0, 1, 0.25)), weight=0.3),
    FieldComponent(mean=((0, 0, 0.15), (0, 1, -0.25)), weight=0.25),
    FieldComponent(mean=((0, 0, -0.2), (1, 0, 0.25)), weight=0.2),
    FieldComponent(mean=((0, 0, -0.2), (1, 0, -0.25)), weight=0.15),
    FieldComponent(mean=((1, 1, 0.4),), weight=0.1),
)


class MixtureFields(SampledImages):
    """Samples of a mixture of Gaussian fields: posteriors with several modes, known in closed form."""

    components: tuple[FieldComponent, ...] = Field(
        DEFAULT, min_length=2, max_length=16, description="the components of the mixture"
    )

    def law(self) -> GaussianMixture:
        return GaussianMixture(tuple(Component(one.field, one.weight, one.mean) for one in self.components))


class HeavyTailedFields(SampledImages):
    """Samples of a Gaussian field times a random scale: heavy tails, with a posterior known in closed form.

    The scale is that of Student's t, `sqrt(degrees / chi2)`, at `nodes` quantiles of equal probability: a mixture of as many
    fields, of which the posterior is exact.
    """

    mirrored: ClassVar[bool] = True
    field: StationaryField = Field(
        MaternField(std=0.2, length=0.25, exponent=2.5, color=0.5), description="distribution of an image of scale 1"
    )
    degrees: float = Field(3.0, gt=0, description="degrees of freedom; the tails are those of Student's t")
    nodes: int = Field(12, ge=2, le=64, description="values of the scale")

    def law(self) -> GaussianMixture:
        from scipy.special import chdtri

        levels = (np.arange(self.nodes) + 0.5) / self.nodes
        scales = np.sqrt(self.degrees / chdtri(self.degrees, levels))
        return GaussianMixture(tuple(Component(self.field, scale=float(scale)) for scale in scales))
