"""U-Nets: the FNO U-Net, a neural operator, and a plain convolutional one for comparison."""

import math
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from invkit.core.grid import Grid
from invkit.diffusion.networks.base import Network
from invkit.diffusion.networks.spectral_conv import SpectralConv, Weights
from invkit.physics.gaussian import resample


def _groups(channels: int) -> int:
    return math.gcd(channels, 32) if channels >= 64 else math.gcd(channels, 8)


def _zero(layer: nn.Module) -> None:
    for p in layer.parameters():
        nn.init.zeros_(p)


def dropout(x: Tensor, p: float, seed: Tensor | None) -> Tensor:
    """Dropout with its own generator, seeded by a scalar tensor; no dropout without one."""
    if seed is None or p == 0:
        return x
    generator = torch.Generator(x.device).manual_seed(int(seed))
    keep = torch.rand(x.shape, generator=generator, dtype=torch.float32, device=x.device).ge_(p)
    return x * keep.div_(1 - p)


@dataclass(frozen=True)
class _Shape:
    embedding: int
    modes: int  # 0: local convolutions only
    weights: Weights
    dropout: float


class _Block(nn.Module):
    """`skip(x) + local(drop(act(norm(scale * (local + spectral)(act(norm(x))) + shift))))`, scale and shift by the embedding."""

    def __init__(self, inner: int, outer: int, shape: _Shape) -> None:
        super().__init__()
        self.p = shape.dropout
        self.norm1 = nn.GroupNorm(_groups(inner), inner)
        self.local1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.mix = nn.Conv2d(inner, outer, 1, bias=False) if shape.modes else None
        self.spectral = SpectralConv(outer, shape.modes, shape.weights) if shape.modes else None
        self.affine = nn.Linear(shape.embedding, 2 * outer)
        self.norm2 = nn.GroupNorm(_groups(outer), outer)
        self.local2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        for layer in (self.affine, self.local2):
            _zero(layer)

    def forward(self, x: Tensor, e: Tensor, seed: Tensor | None) -> Tensor:
        a = F.silu(self.norm1(x))
        h = self.local1(a)
        if self.spectral is not None and self.mix is not None:
            h = h + self.spectral(self.mix(a))
        scale, shift = self.affine(e)[:, :, None, None].chunk(2, 1)
        h = F.silu(self.norm2(h) * (1 + scale) + shift)
        return self.skip(x) + self.local2(dropout(h, self.p, seed))


class _Down(nn.Module):
    """Half the resolution: a strided convolution, or a convolution and a cut to the modes of the coarser grid."""

    def __init__(self, channels: int, alias_free: bool) -> None:
        super().__init__()
        self.alias_free = alias_free
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if alias_free else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return resample(x, (x.shape[2] // 2, x.shape[3] // 2)) if self.alias_free else x


class _Up(nn.Module):
    """Twice the resolution, by spectral or nearest-neighbour interpolation, then a convolution."""

    def __init__(self, channels: int, alias_free: bool) -> None:
        super().__init__()
        self.alias_free = alias_free
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shape = (2 * x.shape[2], 2 * x.shape[3])
        return self.conv(resample(x, shape) if self.alias_free else F.interpolate(x, size=shape, mode="nearest"))


class UNet(nn.Module):
    """`forward(x: (B, in, H, W), embedding: (B, E), seed) -> (B, out, H, W)`; H and W are padded to multiples for all levels."""

    def __init__(self, settings: "UNetSettings", shape: _Shape, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width, patch = settings.channels, settings.patch
        widths = [width * m for m in settings.mult]
        self.patch, self.multiple = patch, patch * 2 ** (len(widths) - 1)
        self.recompute = settings.recompute
        first, second = nn.Linear(settings.embedding, shape.embedding), nn.Linear(shape.embedding, shape.embedding)
        self.embed = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.entry = nn.Conv2d(in_channels * patch**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, inner = [width], width
        for level, outer in enumerate(widths):
            for _ in range(settings.blocks):
                self.down.append(_Block(inner, outer, shape))
                skips.append(inner := outer)
            if level < len(widths) - 1:
                self.down.append(_Down(outer, shape.modes > 0))
                skips.append(outer)
        self.middle = nn.ModuleList([_Block(inner, inner, shape)])
        for level, outer in reversed(list(enumerate(widths))):
            for _ in range(settings.blocks + 1):
                self.up.append(_Block(inner + skips.pop(), outer, shape))
                inner = outer
            if level > 0:
                self.up.append(_Up(outer, shape.modes > 0))
        self.norm = nn.GroupNorm(_groups(inner), inner)
        self.exit = nn.Conv2d(inner, out_channels * patch**2, 3, padding=1)
        _zero(self.exit)

    def forward(self, x: Tensor, embedding: Tensor, seed: Tensor | None = None) -> Tensor:
        h, w = x.shape[-2:]
        x = F.pad(x, (0, -w % self.multiple, 0, -h % self.multiple), mode="replicate")
        e = self.embed(embedding)
        x = self.entry(F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last))
        skips = [x]
        blocks = count()

        def run(layer: nn.Module, x: Tensor) -> Tensor:
            if not isinstance(layer, _Block):
                return layer(x)
            own = None if seed is None else seed + next(blocks)
            if self.recompute and torch.is_grad_enabled():
                return checkpoint(layer, x, e, own, use_reentrant=False, preserve_rng_state=False)
            return layer(x, e, own)

        for layer in self.down:
            skips.append(x := run(layer, x))
        for layer in self.middle:
            x = run(layer, x)
        for layer in self.up:
            x = run(layer, torch.cat([x, skips.pop()], 1) if isinstance(layer, _Block) else x)
        x = F.pixel_shuffle(self.exit(F.silu(self.norm(x))), self.patch)
        return x[..., :h, :w]


class UNetSettings(Network):
    """A plain convolutional U-Net on the image's own grid, for comparison with the FNO U-Net."""

    channels: int = Field(64, ge=8, multiple_of=8, description="channels of the finest level")
    mult: tuple[int, ...] = Field(
        (1, 2), min_length=1, max_length=6, description="width of each level, in multiples of `channels`"
    )
    blocks: int = Field(2, ge=1, le=8, description="residual blocks per level")
    patch: int = Field(
        2, ge=1, le=8, description="side of the square patches folded into channels before the first level"
    )
    embedding: int = Field(64, ge=4, multiple_of=2, description="size of the noise-level embedding")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability in each block during training")
    recompute: bool = Field(
        False,
        description="gradient checkpointing: recompute each block in the backward pass, which saves memory and takes time",
    )

    @property
    def embedding_size(self) -> int:
        return self.embedding

    @property
    def capturable(self) -> bool:
        return not self.dropout and not self.recompute

    def working(self, grid: Grid, reference: int, zoom: float = 1.0) -> tuple[int, int]:
        return grid.shape

    def _shape(self) -> _Shape:
        return _Shape(4 * self.embedding, 0, "depthwise", self.dropout)

    def build(self, in_channels: int, out_channels: int) -> UNet:
        return UNet(self, self._shape(), in_channels, out_channels)


class FnoUNetSettings(UNetSettings):
    """The FNO U-Net: each block adds a spectral convolution of the lowest frequencies (Li et al. 2021) to its local one.

    It is a neural operator: it works on the grid of the finest training images (or `reference`), so kernels keep their size
    in the domain, and images on other grids are resampled without aliasing at input and output (Raonic et al. 2023, CNO).
    Modes beyond that grid are handled by the preconditioning alone.
    """

    modes: int = Field(6, ge=1, le=64, description="frequencies kept per axis, in cycles per domain")
    weights: Weights = Field(
        "depthwise", description="spectral weights: dense (mix all channels), low-rank or depthwise"
    )
    reference: int | None = Field(
        None,
        ge=4,
        description="cells along the shorter side of the network's grid; null: those of the finest of train.grids",
    )

    def working(self, grid: Grid, reference: int, zoom: float = 1.0) -> tuple[int, int]:
        multiple = self.patch * 2 ** (len(self.mult) - 1)
        height, width = (e * (self.reference or reference) * zoom / multiple for e in grid.extent)
        return multiple * max(1, round(height)), multiple * max(1, round(width))

    def _shape(self) -> _Shape:
        return _Shape(4 * self.embedding, self.modes, self.weights, self.dropout)
