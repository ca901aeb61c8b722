"""A degradation: a distribution over forward operators."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.physics.operators.base import Operator


class Degradation(Settings, ABC):
    """A distribution over forward operators; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "degradation"

    @abstractmethod
    def sample(self, keys: Keys, grid: Grid) -> Operator:
        """Sample one operator for each key: a batch of `len(keys)` on `grid`, on the device of the keys.

        Raises ValueError, with advice, for a grid that does not fit the settings.
        """

    @property
    def resolution_law(self) -> float | None:
        """Relative error to which `A* A` of a smooth image agrees between a grid of 48 and one of 96.

        None where the settings are not lengths (a share of the pixels, a factor), so that grids need not agree.
        """
        return None

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        """Settings that `invkit.testing` checks, where `Field(examples=[...])`, types and bounds do not suffice."""
        return ()

    def table_rows(self) -> Sequence[tuple["Degradation", "Degradation"]]:
        """The degradations that a table has rows for: the one that names the rows, and the one to evaluate."""
        return [(self, self)]
