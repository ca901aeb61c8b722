"""The base class of noise laws."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.core.settings import Settings


class Law(ABC):
    """The distribution of measured values y given their noiseless values `A(x)`, independent for each value.

    A batch of laws, one for each image, if they differ between images.
    """

    @abstractmethod
    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        """Measured values (B, *range) given noiseless ones, keyed by image."""

    @abstractmethod
    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """`log p(y | A(x))` of each value (B, *range), up to a term without `A(x)`; differentiable in `clean` if `smooth`."""

    @abstractmethod
    def variance(self, clean: Tensor) -> Tensor:
        """The variance of each measured value (B, *range) about its noiseless value; an average over values nearby is enough."""

    @property
    def smooth(self) -> bool:
        """Whether the gradient of `log_likelihood` says where y is more likely."""
        return True

    @property
    def noiseless(self) -> bool:
        """Whether `y = A(x)`."""
        return False

    @property
    def white(self) -> float | None:
        """The standard deviation of white Gaussian noise, the same for all images; None for any other law."""
        return None

    def __getitem__(self, index: slice | Tensor) -> "Law":
        return self

    def repeat(self, count: int) -> "Law":
        """The batch repeated `count` times, as in `Operator.repeat`."""
        return self

    def to(self, device: torch.device | str) -> "Law":
        return self


class NoiseLaw(Settings, Law, ABC):
    """The distribution of the noise as settings of a recipe; its typed fields are its settings."""

    kind: ClassVar[str] = "noise"

    def drawn(self, keys: Keys) -> Law:
        """The distribution for some images, where a parameter is drawn for each."""
        return self

    def __getitem__(self, index: slice | Tensor) -> Self:
        return self


def white_sigma(law: Law, who: str = "") -> float:
    """The standard deviation of white Gaussian noise, which `who` requires. Raises Unavailable for any other law."""
    if law.white is None:
        raise Unavailable(f"{who or 'it'} requires white Gaussian noise of one level, not {law!r}")
    return law.white


def facts(law: Law) -> float | dict[str, Any]:
    """The law as a table states it: a number for white Gaussian noise, else its class and settings."""
    if law.white is not None:
        return law.white
    settings = law.model_dump(mode="json") if isinstance(law, NoiseLaw) else {}
    return {"law": type(law).__name__, **settings}
