"""Base classes: a data set of a recipe, and its images on a grid, by index."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField

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
class Part(Images):
    """A range of other images: `count` of them, from id `first`."""

    images: Images
    first: int
    count: int

    @property
    def grid(self) -> Grid:  # type: ignore[override]
        return self.images.grid

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.images[[self.first + i for i in ids]]

    def group(self, image_id: int) -> str:
        return self.images.group(self.first + image_id)


class Dataset(Settings, ABC):
    """A source of images; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "dataset"

    @property
    def channels(self) -> int:
        return 3

    def law(self) -> GaussianField | None:
        """The Gaussian field of which the images are samples, with a posterior in closed form; None for other images."""
        return None

    @property
    def downloads(self) -> bool:
        """Whether `open` downloads missing data."""
        return False

    def missing(self) -> str | None:
        """A short description of data that `open` would have to download or cannot find; None if all is available."""
        return None

    @abstractmethod
    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        """Open a split on a grid, or only its first `limit` images, which may be much faster.

        Raises DataError, with one line on the cause and how to fix it, if the data cannot be used.
        """
