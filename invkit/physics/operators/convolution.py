"""Convolution on a periodic domain, with its pseudo-inverse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.separable import strongest


@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    """Each channel convolved with one kernel, with periodic boundary conditions.

    The pseudo-inverse divides by the transfer function and drops the weakest frequencies, as `Separable` does.
    """

    batch: int
    domain: Grid
    transfer: Tensor  # (1 or B, H, W // 2 + 1) complex128
    cutoff: float = 0.0

    @classmethod
    def of(
        cls,
        batch: int,
        domain: Grid,
        kernel: Tensor,  # (1 or B, H, W) float64, centred at [0, 0]
        cutoff: float = 0.0,
    ) -> Self:
        """The convolution with a kernel."""
        return cls(batch, domain, torch.fft.rfft2(kernel), cutoff)

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, int, int]:
        return self.domain.picture

    @property
    def range_weight(self) -> float:
        return self.domain.area

    @property
    def pinv_tolerance(self) -> float:
        return 3 * self.cutoff

    def _times(self, x: Tensor, gain: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        return torch.fft.irfft2(spectrum * gain.to(spectrum)[:, None], s=self.domain.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self._times(x, self.transfer)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._times(y, self.transfer.conj())

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        gain = self.transfer.abs()
        return self._times(x, f(torch.where(strongest(gain, self.cutoff), gain, 0)))

    def pinv(self, y: Tensor) -> Tensor:
        kept = strongest(self.transfer.abs(), self.cutoff)
        return self._times(y, torch.where(kept, 1 / torch.where(kept, self.transfer, 1), 0))

    def __len__(self) -> int:
        return self.batch
