"""Linear forward operators, the base of all others."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from invkit.core.grid import Grid


class LinearOperator(ABC):
    """A batch of linear maps `A: (B, C, H, W) -> (B, *range_shape)`, one for each picture.

    The inner product of pictures is the L2 one of the domain (`grid.area` per pixel); that of measurements weighs every
    value with `range_weight`; `adjoint` is the adjoint in these. Subclasses are frozen dataclasses whose tensor fields
    have the batch first; with a field `batch: int` beside them, a tensor of length 1 serves the whole batch. A field may
    also be a tuple of operators. Results have the dtype and the device of the argument: fields that are floats are cast to
    its dtype at the place of use, so that float64 in is float64 all the way. `invkit.testing` holds operators to all this.
    """

    @property
    @abstractmethod
    def grid(self) -> Grid: ...

    @property
    @abstractmethod
    def range_shape(self) -> tuple[int, ...]: ...

    @property
    def range_weight(self) -> float:
        return 1.0

    @property
    def pinv_tolerance(self) -> float:
        """Relative error of the Penrose conditions where `pinv` is iterative or leaves out what is too weak; 0: exact."""
        return 0.0

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """`A x`: pictures (B, C, H, W) to measurements (B, *range_shape)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """`A* y` in the weighted inner products: (B, *range_shape) to (B, C, H, W)."""

    @abstractmethod
    def pinv(self, y: Tensor) -> Tensor:
        """The least-squares picture of least norm: (B, *range_shape) to (B, C, H, W)."""

    @abstractmethod
    def __len__(self) -> int:
        """The batch size."""

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """`f(|A|) x` with `|A| = (A^T A)^(1/2)`, for pictures (B, C, H, W); None where no decomposition is at hand.

        Every right singular vector in `x` is multiplied by `f` of its singular value, which maps float64 tensors elementwise;
        what is hidden, or left out by `pinv`, counts as zero.
        """
        return None

    def measured(self, y: Tensor) -> Tensor:
        """`y` (B, *range_shape) with zeros in the places where nothing is ever measured, such as a mask's hidden pixels."""
        return y

    def to(self, device: torch.device | str) -> Self:
        return self._map(lambda t: t.to(device), lambda part: part.to(device))

    def __getitem__(self, index: slice | Tensor) -> Self:
        def chosen(t: Tensor) -> Tensor:
            return t[index.to(t.device) if isinstance(index, Tensor) else index]

        return self._along(chosen, lambda part: part[index])

    def repeat(self, count: int) -> Self:
        """The batch `count` times over, as `Keys.fork` orders it."""
        return self._along(lambda t: t.repeat(count, *[1] * (t.ndim - 1)), lambda part: part.repeat(count))

    def _map(self, fn: Callable[[Tensor], Tensor], parts: Callable[[Any], Any]) -> Self:
        """Every tensor through `fn`, every operator of a tuple through `parts`."""
        changes: dict[str, Any] = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changes[f.name] = fn(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], LinearOperator):
                changes[f.name] = tuple(map(parts, value))
        return replace(self, **changes)  # type: ignore[type-var]

    def _along(self, fn: Callable[[Tensor], Tensor], parts: Callable[[Any], Any]) -> Self:
        """Everything that has the batch first, and the size `batch` itself, through `fn`."""
        batch = getattr(self, "batch", None)
        made = self._map(lambda t: t if batch and len(t) == 1 else fn(t), parts)
        return made if batch is None else replace(made, batch=len(fn(torch.empty(batch))))  # type: ignore[type-var]
