"""A degradation: a distribution over forward operators."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.physics.operators.base import LinearOperator


class Degradation(Settings, ABC):
    """A law of measurement operators; its typed fields are its settings in a recipe."""

    kind: ClassVar[str] = "degradation"

    @abstractmethod
    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        """Draw one operator for each key: a batch of `len(keys)` on `grid`, on the device of the keys.

        Raises ValueError, with the way out, for a grid that the settings do not fit.
        """

    @property
    def resolution_law(self) -> float | None:
        """How closely `A* A` of a smooth picture agrees between a grid of 48 and one of 96: a relative error.

        None where the settings are no lengths (a share of the pixels, a factor), so that grids need not agree.
        """
        return None

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        """Settings that `invkit.testing` checks, where `Field(examples=[...])`, types and bounds cannot tell."""
        return ()

    def table_rows(self) -> Sequence[tuple["Degradation", "Degradation"]]:
        """What a table has rows for, one after the other: the degradation that names them, and the law to evaluate."""
        return [(self, self)]
