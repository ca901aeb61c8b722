"""Convolution with a kernel on a periodic domain."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator


@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    """Every channel convolved with one kernel; the picture goes on periodically beyond its border.

    The pseudo-inverse divides by the transfer function, without frequencies attenuated to `cutoff` of the strongest or
    less.
    """

    batch: int
    domain: Grid
    transfer: Tensor  # (1 or B, H, W // 2 + 1) complex128
    cutoff: float

    @classmethod
    def of(
        cls,
        batch: int,
        domain: Grid,
        kernel: Tensor,  # (1 or B, H, W) float64, its centre at [0, 0]
        cutoff: float,
    ) -> Self:
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
        return self.cutoff

    def _times(self, x: Tensor, gain: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        return torch.fft.irfft2(spectrum * gain.to(spectrum)[:, None], s=self.domain.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self._times(x, self.transfer)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._times(y, self.transfer.conj())

    def pinv(self, y: Tensor) -> Tensor:
        size = self.transfer.abs()
        seen = size > self.cutoff * size.amax((1, 2), keepdim=True)
        return self._times(y, torch.where(seen, 1 / torch.where(seen, self.transfer, 1), 0))

    def __len__(self) -> int:
        return self.batch
