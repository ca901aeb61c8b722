"""Masks: forward operators that observe some of the pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """Some pixels are observed: `A x = observed * x`, zero where hidden.

    `observed` is (B, 1, H, W), or (B, C, H, W) for a separate mask in each channel. Images have `channels` channels.
    """

    observed: Tensor  # (B, 1 or C, H, W) bool
    channels: int = 0  # 0: those of `observed`, or 3 where it has one
    counts: tuple[int, int] | None = (
        None  # fewest and most observed pixels of an image, where known without reading `observed`
    )

    def __post_init__(self) -> None:
        if self.observed.ndim != 4 or self.observed.dtype != torch.bool:
            raise ValueError(
                f"Mask needs a boolean tensor (B, 1 or C, H, W), got {self.observed.dtype} {tuple(self.observed.shape)}"
            )
        own = self.observed.shape[1]
        object.__setattr__(self, "channels", self.channels or (own if own > 1 else 3))
        if own not in (1, self.channels):
            raise ValueError(f"a mask of {own} channels does not fit images of {self.channels}")

    @property
    def grid(self) -> Grid:
        return Grid(self.observed.shape[2], self.observed.shape[3], self.channels)

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.grid.picture

    @property
    def range_weight(self) -> float:
        return self.grid.area

    def forward(self, x: Tensor) -> Tensor:
        return x * self.observed

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.observed

    def pinv(self, y: Tensor) -> Tensor:
        return y * self.observed

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        return x * f(self.observed.double()).to(x)

    def measured(self, y: Tensor) -> Tensor:
        return y * self.observed

    def __len__(self) -> int:
        return len(self.observed)
