"""Spectral convolution by truncated real Fourier matrix products: no complex tensors, real output on every grid."""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

Weights = Literal["dense", "low-rank", "depthwise"]


def kept_modes(n: int, modes: int) -> int:
    """Positive frequencies kept along an axis of `n` cells: at most `modes`, always below Nyquist."""
    return min(modes, (n - 1) // 2)


@lru_cache(maxsize=64)
def _waves(n: int, modes: int, both_signs: bool, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine (frequency, cell) of the kept frequencies: 0..m, or -m..m."""
    m = kept_modes(n, modes)
    k = torch.arange(-m if both_signs else 0, m + 1, dtype=torch.float64)
    phase = 2 * math.pi / n * k[:, None] * torch.arange(n, dtype=torch.float64)
    return phase.cos().to(device, dtype), phase.sin().to(device, dtype)


@lru_cache(maxsize=64)
def _analysis(h: int, w: int, modes: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices of the forward transform, columns then rows: real cells to stacked (real, imaginary) coefficients."""
    cos, sin = _waves(w, modes, False, device, dtype)
    columns = torch.cat([cos, -sin]).T / w  # (W, 2 K)
    cos, sin = _waves(h, modes, True, device, dtype)
    rows = torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)]) / h  # (2 J, 2 H)
    return columns.contiguous(), rows.contiguous()


@lru_cache(maxsize=64)
def _synthesis(h: int, w: int, modes: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices of the inverse transform, rows then columns; the imaginary part of the result is never formed."""
    cos, sin = _waves(h, modes, True, device, dtype)
    rows = torch.cat([torch.cat([cos.T, -sin.T], 1), torch.cat([sin.T, cos.T], 1)])  # (2 H, 2 J)
    cos, sin = _waves(w, modes, False, device, dtype)
    twice = torch.full((len(cos), 1), 2.0, device=device, dtype=dtype)
    twice[0] = 1  # the other half of the spectrum is the conjugate, but for frequency zero
    columns = torch.cat([cos * twice, -sin * twice])  # (2 K, W)
    return rows.contiguous(), columns.contiguous()


class SpectralConv(nn.Module):
    """Convolution with a kernel given by its lowest `modes` frequencies per axis, cycles on the domain (Li et al. 2021, FNO).

    `dense` weights mix all channels in every mode; `depthwise` weights filter each channel by itself; `low-rank` ones filter
    a quarter as many mixtures of the channels (a canonical decomposition: Kossaifi et al. 2023, TFNO). On a grid that holds
    fewer frequencies the outer weights rest, so one set of weights serves every grid.
    """

    def __init__(self, channels: int, modes: int, weights: Weights) -> None:
        super().__init__()
        self.modes = modes
        inner = max(1, channels // 4) if weights == "low-rank" else channels
        shape = (2, 2 * modes + 1, modes + 1, inner) + ((channels,) if weights == "dense" else ())
        # Modes are few against cells: this keeps the output's variance near the input's smooth part.
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(2 * (channels if weights == "dense" else 1)))
        self.enter, self.leave = None, None
        if weights == "low-rank":
            self.enter = nn.Parameter(torch.randn(inner, channels) / math.sqrt(channels))
            self.leave = nn.Parameter(torch.randn(channels, inner) / math.sqrt(inner))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        b, c, h, w = x.shape
        j, k = kept_modes(h, self.modes), kept_modes(w, self.modes) + 1
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        columns, rows = _analysis(h, w, self.modes, x.device, dtype)
        z = (x.to(dtype) @ columns).view(b, c, h, 2, k).movedim(3, 2).reshape(b, c, 2 * h, k)
        z = rows @ z  # (B, C, 2 J, K): real parts, then imaginary ones
        if self.enter is not None:
            z = (self.enter.to(dtype) @ z.flatten(2)).view(b, -1, *z.shape[2:])
        z = self._mix(z, self.weight[:, self.modes - j : self.modes + j + 1, :k].to(dtype))
        if self.leave is not None:
            z = (self.leave.to(dtype) @ z.flatten(2)).view(b, c, *z.shape[2:])
        rows, columns = _synthesis(h, w, self.modes, x.device, dtype)
        y = (rows @ z).view(b, c, 2, h, k).movedim(2, 3).reshape(b, c, h, 2 * k)
        return y @ columns

    def _mix(
        self,
        z: Tensor,  # (B, C, 2 J, K)
        kernel: Tensor,  # (2, J, K, C[, C])
    ) -> Tensor:
        b, c, _, k = z.shape
        j = kernel.shape[1]
        parts = z.view(b, c, 2, j, k)
        real, imaginary = parts[:, :, 0], parts[:, :, 1]
        if kernel.ndim == 4:
            a, d = kernel.movedim(3, 1)  # (C, J, K)
            return torch.cat([real * a - imaginary * d, real * d + imaginary * a], 2)
        a, d = kernel.flatten(1, 2)  # (modes, C, C)
        block = torch.cat([torch.cat([a, d], 2), torch.cat([-d, a], 2)], 1)  # (modes, 2 C, 2 C)
        flat = parts.permute(3, 4, 0, 2, 1).reshape(-1, b, 2 * c)
        mixed = torch.bmm(flat, block).view(j, k, b, 2, c).permute(2, 4, 3, 0, 1)
        return mixed.reshape(b, c, 2 * j, k)
