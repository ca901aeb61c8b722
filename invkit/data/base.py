"""Base classes: a data set of a recipe, and its images on a grid, by index."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture

Split = Literal["train", "test"]


class Images(ABC):
    """The images of one split on one grid. The first n ids are a representative sample of the split, for any n."""

    grid: Grid
    notes: tuple[str, ...] = ()  # for the user: images left out, data replaced
    split_used: str = ""  # for the user and the record: sources and numbers of the training and test images

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        """The images of some ids: (B, C, H, W) float32 in [-1, 1], area-averaged to the grid; a pure function of the ids."""

    @abstractmethod
    def group(self, image_id: int) -> str:
        """Name of the photograph or file that an image was cut from; images of the same group are not independent."""


@dataclass(frozen=True, eq=False)
class Chosen(Images):
    """Some of other images: those with the given ids, in this order."""

    images: Images
    ids: Sequence[int] | NDArray[np.intp]

    @property
    def grid(self) -> Grid:  # type: ignore[override]
        return self.images.grid

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.images[[int(self.ids[i]) for i in ids]]

    def group(self, image_id: int) -> str:
        return self.images.group(int(self.ids[image_id]))


class Dataset(Settings, ABC):
    """A source of images; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "dataset"
    mirrored: ClassVar[bool] = False  # whether an image mirrored left to right is as likely as the image
    records_split: ClassVar[bool] = False  # whether a run records which images it was trained on, by their contents

    @property
    def channels(self) -> int:
        return 3

    @property
    def span(self) -> tuple[float, float] | None:
        """The values of an image file that mean -1 and 1; None: those of black and white."""
        return None

    def law(self) -> GaussianField | GaussianMixture | None:
        """The Gaussian field or mixture of which the images are samples, with a posterior in closed form; None for other images."""
        return None

    @property
    def downloads(self) -> bool:
        """Whether `open` downloads missing data."""
        return False

    def missing(self) -> str | None:
        """A short description of data that `open` would have to download or cannot find; None if all is available."""
        return None

    def record_split(self, seed: int) -> dict[str, Any]:
        """The contents of both splits, JSON-compatible, if `records_split`."""
        raise NotImplementedError

    def with_split(self, record: dict[str, Any] | None, changed: Collection[str] = ()) -> Self:
        """This data set with the split that a run recorded, None if the run has no record.

        `changed` are the settings in which it differs from the run's. If they affect the split, it is made anew, without
        test images on which the run was trained.
        """
        return self

    def changed(self) -> str | None:
        """What has changed in the training images since they were recorded, with the way out; None if nothing has."""
        return None

    def test_digest(self, seed: int) -> str | None:
        """A digest of the contents of the test images; None if it is not known, or they cannot change."""
        return None

    def test_images_in(self, record: dict[str, Any], seed: int) -> int:
        """How many test images are training images of another run, by the record of its split."""
        return 0

    @abstractmethod
    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        """Open a split on a grid, or only its first `limit` images, which may be much faster.

        Raises DataError, with one line on the cause and how to fix it, if the data cannot be used.
        """
