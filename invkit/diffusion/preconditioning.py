"""Preconditioning: how a network F of unit-scale inputs and outputs becomes a denoiser `D(z, s) = skip z + out F(into z, s)`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField, dct, idct, resample

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scaling:
    """`D = synthesis (skip + out F into) analysis` at noise levels (B,), or one for all of a batch.

    From pictures (B, C, H, W) to the network's grid (B, C, h, w), and back; `analysis` and `synthesis` lead to coordinates, of
    the picture's shape, in which the other maps are simple. A mode has the same size in the network, and on its way out of
    it, whatever the grid of the picture.
    """

    analysis: Map  # picture to coordinates
    into: Map  # coordinates to network
    skip: Map  # coordinates to coordinates
    out: Map  # network to coordinates
    synthesis: Map  # coordinates to picture
    power: Tensor  # (B,): pixel power of `out` of unit white noise on the picture's grid


def together(
    parts: list[tuple[Tensor, Scaling]],  # places in the batch, and what scales there
) -> Scaling:
    """One for a batch of several laws."""
    order = torch.cat([places for places, _ in parts]).argsort()

    def each(which: Callable[[Scaling], Map]) -> Map:
        return lambda x: torch.cat([which(part)(x[places]) for places, part in parts])[order]

    power = torch.cat([part.power for _, part in parts])[order]
    return Scaling(
        each(lambda s: s.analysis), each(lambda s: s.into), each(lambda s: s.skip), each(lambda s: s.out),
        each(lambda s: s.synthesis), power,
    )  # fmt: skip


class Preconditioning(Settings, ABC):
    """At noise level infinity every one reads `skip = 0, into = 0`: the output is the mean itself."""

    kind: ClassVar[str] = "preconditioning"

    @abstractmethod
    def scaling(
        self,
        sigma: Tensor,  # (B,) in (0, inf]: multiples of the noise field; of length one: for any batch
        noise: GaussianField,
        data: GaussianField,  # the law of the residual, measured on training pictures
        grid: Grid,
        working: Grid | None = None,  # the network's; None for the picture's own
    ) -> Scaling: ...


class ScalarPreconditioning(Preconditioning, ABC):
    """One factor for all modes, of the pixel deviations of noise and data."""

    data: float = Field(1.0, gt=0, description="deviation of the normalised data, 1 unless studied otherwise")

    @abstractmethod
    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """`skip` and `out` at pixel noise deviations s (B, 1, 1, 1), finite."""

    def scaling(
        self, sigma: Tensor, noise: GaussianField, data: GaussianField, grid: Grid, working: Grid | None = None
    ) -> Scaling:
        working = working or grid
        common = min(grid, working, key=lambda g: g.pixels)  # the modes that picture and network share
        s = (sigma * noise.deviation(common)).view(-1, 1, 1, 1)
        mean = s.isinf()
        skip, out = self.factors(torch.where(mean, 1.0, s))
        skip, out = torch.where(mean, 0.0, skip), torch.where(mean, self.data, out)
        into = (s**2 + self.data**2).rsqrt()

        def lowpass(z: Tensor) -> Tensor:  # nothing says how much of a mode beyond the network's is noise
            return resample(resample(z, working.shape), grid.shape)

        return Scaling(
            _same, lambda z: into * resample(z, working.shape), lambda z: skip * lowpass(z),
            lambda f: out * resample(f, grid.shape), _same, out.square().view(-1),
        )  # fmt: skip


class EdmPreconditioning(ScalarPreconditioning):
    """Unit-variance targets (Karras et al. 2022, EDM, table 1)."""

    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        total = s**2 + self.data**2
        return self.data**2 / total, s * self.data * total.rsqrt()


class EpsilonPreconditioning(ScalarPreconditioning):
    """The network predicts the noise (Ho et al. 2020, eq. 14)."""

    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(s), -s


class X0Preconditioning(ScalarPreconditioning):
    """The network predicts the clean residual."""

    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(s), torch.full_like(s, self.data)


class VPreconditioning(ScalarPreconditioning):
    """The network predicts `v = (n - s x0) / sqrt(1 + s^2)` (Salimans & Ho 2022, appendix D): EDM's for unit data, sign turned."""

    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (1 + s**2), -s * (1 + s**2).rsqrt()


class SpectralPreconditioning(Preconditioning):
    """A factor for every mode: with a zero network, the exact denoiser of the Gaussian residual field.

    With the powers d of the data and l of the noise in a mode, `skip = d / (d + s^2 l)`, `into = (d + s^2 l)^-1/2` and
    `out = s sqrt(l d) / sqrt(d + s^2 l)`; colour matrices are diagonalised together first.
    """

    def scaling(
        self, sigma: Tensor, noise: GaussianField, data: GaussianField, grid: Grid, working: Grid | None = None
    ) -> Scaling:
        working = working or grid
        encode, rotate, decode, gain = _pencil(noise, data, grid, sigma.device, torch.float32)
        s2 = sigma.square().view(-1, 1, 1, 1)
        mean = s2.isinf()
        finite = torch.where(mean, 1.0, s2)
        skip = torch.where(mean, 0.0, gain / (gain + finite))
        out = torch.where(mean, gain, finite * gain / (gain + finite)).sqrt()
        into = torch.where(mean, 0.0, (gain + finite).rsqrt())
        norm = decode.square().sum(0)  # (C, H, W)
        height, width = (min(n, m) for n, m in zip(grid.shape, working.shape, strict=True))
        within = ..., slice(height), slice(width)  # the modes that picture and network share
        rotate = rotate[within]
        return Scaling(
            lambda z: _mix(encode, dct(z)),
            lambda u: idct(_fitted(_mix(rotate, into[within] * u[within]), working)),
            lambda u: skip * u,
            lambda f: _fitted(out[within] * _mix(rotate.transpose(0, 1), dct(f)[within]), grid),
            lambda u: idct(_mix(decode, u)),
            (out.square() * norm).sum(1).mean((1, 2)) / grid.channels,
        )


def _same(x: Tensor) -> Tensor:
    return x


def _fitted(modes: Tensor, grid: Grid) -> Tensor:
    """Modes (B, C, h, w) on a grid that has as many or more, the others zero."""
    return F.pad(modes, (0, grid.width - modes.shape[3], 0, grid.height - modes.shape[2]))


def _mix(matrix: Tensor, modes: Tensor) -> Tensor:
    """Colours of every mode under a matrix of its own: (C, D, H, W) times (B, D, H, W)."""
    first, *others = zip(
        matrix.unbind(1), modes.split(1, 1), strict=True
    )  # sums of few products beat many tiny matrices
    total = first[0] * first[1]
    for column, mode in others:
        total = torch.addcmul(total, column, mode)
    return total


@lru_cache(maxsize=32)
def _pencil(
    noise: GaussianField, data: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`U^T l^-1/2`, `U` and `l^1/2 U`, (C, C, H, W), and the powers g (C, H, W), with `l^-1/2 d l^-1/2 = U g U^T` in every mode."""
    l, d = ((field.spectrum(grid).double().cpu() / grid.area).permute(2, 3, 0, 1) for field in (noise, data))
    if l.shape != d.shape or noise.basis != "cosine":
        raise ValueError("spectral preconditioning needs diffusion.field in the cosine basis without padding")
    values, vectors = torch.linalg.eigh(l)
    values = values.clamp(min=1e-12 * float(values.max()))
    half = vectors * values.sqrt().unsqueeze(-2) @ vectors.mT
    inverse = vectors * values.rsqrt().unsqueeze(-2) @ vectors.mT
    gain, rotate = torch.linalg.eigh(inverse @ d @ inverse)
    found = (rotate.mT @ inverse, rotate, half @ rotate)
    matrices = tuple(m.permute(2, 3, 0, 1).contiguous().to(device, dtype) for m in found)
    return *matrices, gain.clamp(min=1e-20).permute(2, 0, 1).contiguous().to(device, dtype)
