"""What a data set is: settings in a recipe that open to indexed pictures on a grid."""

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
    """The opened pictures of one split on one grid. Any prefix of the ids is a fair sample of the split."""

    grid: Grid
    notes: tuple[str, ...] = ()  # what the person should know: pictures left out, data replaced

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        """The pictures of some ids: (B, C, H, W) float32 in [-1, 1], area-averaged to the grid; a pure function."""

    @abstractmethod
    def group(self, image_id: int) -> str:
        """The name of what a picture was cut from; pictures that share one are not independent."""


@dataclass(frozen=True, eq=False)
class Part(Images):
    """`count` pictures of others, from `first` on."""

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
    """A source of pictures; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "dataset"

    @property
    def channels(self) -> int:
        return 3

    def law(self) -> GaussianField | None:
        """The Gaussian field that the pictures are drawn from, where they are: their posterior is then known in closed form."""
        return None

    def missing(self) -> str | None:
        """What is not on this machine yet, in a few words; None where `open` can start at once."""
        return None

    @abstractmethod
    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        """Open a split on a grid, or only its first `limit` pictures, which may be much faster.

        Raises DataError, in one line with the way out, where the data cannot be used.
        """
