"""Spectral convolution by products with truncated Fourier matrices: no complex tensors, and real output on every grid."""

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
def _waves(n: int, modes: int, both_signs: bool) -> tuple[Tensor, Tensor]:
    """Cosine and sine (frequency, cell) of the kept frequencies: 0..m, or -m..m."""
    m = kept_modes(n, modes)
    k = torch.arange(-m if both_signs else 0, m + 1, dtype=torch.float64)
    phase = 2 * math.pi / n * k[:, None] * torch.arange(n, dtype=torch.float64)
    return phase.cos(), phase.sin()


@lru_cache(maxsize=64)
def _transforms(
    h: int, w: int, modes: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matrices of the transform, for rows and columns, and of its inverse, for columns and rows.

    After the rows each frequency has a cosine and a sine coefficient, after the columns a real and an imaginary part. The
    imaginary part of the inverse is never computed.
    """
    cos, sin = _waves(h, modes, True)
    rows = torch.stack([cos, sin], 1).flatten(0, 1)  # (2 J, H)
    cos, sin = _waves(w, modes, False)
    columns = torch.cat([torch.cat([cos, -sin], 1), torch.cat([-sin, -cos], 1)])  # (2 K, 2 W)
    twice = torch.full((len(cos), 1), 2.0, dtype=cos.dtype)
    twice[0] = 1  # the other half of the spectrum is the complex conjugate, except at frequency zero
    back = (columns * twice.repeat(2, 1)).T  # (2 W, 2 K)
    return tuple(m.to(device, dtype).contiguous() for m in (rows / h, columns / w, back, rows.T))  # type: ignore[return-value]


def _each(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix` times each matrix of x (B, n, m); by bmm, as a broadcast product would copy."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


class SpectralConv(nn.Module):
    """Convolution with a kernel given by its lowest `modes` frequencies per axis, in cycles per domain (Li et al. 2021, FNO).

    `dense` weights mix all channels in each mode; `depthwise` weights filter each channel separately; `low-rank` weights
    filter a quarter as many linear combinations of the channels (a canonical decomposition: Kossaifi et al. 2023, TFNO). On a
    grid with fewer frequencies the outer weights are unused, so the same weights apply to every grid.
    """

    def __init__(self, channels: int, modes: int, weights: Weights) -> None:
        super().__init__()
        self.modes = modes
        inner = max(1, channels // 4) if weights == "low-rank" else channels
        shape = (2, 2 * modes + 1, modes + 1, inner) + ((channels,) if weights == "dense" else ())
        # There are few modes and many cells: the output variance is then close to that of the input's low frequencies.
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(2 * (channels if weights == "dense" else 1)))
        self.enter, self.leave = None, None
        if weights == "low-rank":
            self.enter = nn.Parameter(torch.randn(inner, channels) / math.sqrt(channels))
            self.leave = nn.Parameter(torch.randn(channels, inner) / math.sqrt(inner))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W); channels_last is fastest, and the format of the result
        b, c, h, w = x.shape
        j, k = kept_modes(h, self.modes), kept_modes(w, self.modes) + 1
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        rows, columns, back, out = _transforms(h, w, self.modes, x.device, dtype)
        z = _each(rows, x.to(dtype).permute(0, 2, 3, 1).reshape(b, h, w * c))
        z = _each(columns, z.view(-1, 2 * w, c)).view(b, -1, 2, k, c)  # (B, J, 2, K, C): real and imaginary parts
        if self.enter is not None:
            z = z @ self.enter.to(dtype).T
        z = self._mix(z, self.weight[:, self.modes - j : self.modes + j + 1, :k].to(dtype))
        if self.leave is not None:
            z = z @ self.leave.to(dtype).T
        z = _each(back, z.view(-1, 2 * k, c))
        return _each(out, z.view(b, -1, w * c)).view(b, h, w, c).permute(0, 3, 1, 2)

    def _mix(
        self,
        z: Tensor,  # (B, J, 2, K, C)
        kernel: Tensor,  # (2, J, K, C[, C])
    ) -> Tensor:
        a, d = kernel
        if kernel.ndim == 4:  # (u + i v)(a + i d) = (u a - v d) + i (u d + v a), for all modes in few operations
            matrices = torch.stack([a, -d, d, a], 1).unflatten(1, (2, 2))  # (J, 2, 2, K, C)
            return (z[:, :, None] * matrices).sum(3)
        b, j, _, k, c = z.shape
        a, d = a.flatten(0, 1), d.flatten(0, 1)  # (modes, C, C)
        block = torch.cat([torch.cat([a, d], 2), torch.cat([-d, a], 2)], 1)  # (modes, 2 C, 2 C)
        flat = z.permute(1, 3, 0, 2, 4).reshape(-1, b, 2 * c)
        return torch.bmm(flat, block).view(j, k, b, 2, c).permute(2, 0, 3, 1, 4).contiguous()
