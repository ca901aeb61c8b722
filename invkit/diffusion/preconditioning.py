"""Preconditioning: how a network of unit-scale inputs and outputs becomes a denoiser `D(z, s) = skip z + out F(into z, s)`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from pydantic import Field
from torch import Tensor

from invkit.field import GaussianField, dct, idct, resample
from invkit.grid import Grid
from invkit.settings import Settings

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scaling:
    """The three maps at given noise levels: from pictures (B, C, H, W) to the network's grid (B, C, h, w), and back.

    A mode has the same size in the network, and on its way out of it, whatever the grid of the picture.
    """

    skip: Map  # picture to picture
    out: Map  # network to picture
    into: Map  # picture to network
    power: Tensor  # (B,): pixel power of `out` of unit white noise on the picture's grid


class Preconditioning(Settings, ABC):
    """At noise level infinity every one reads `skip = 0, into = 0`: the output is the mean itself."""

    @abstractmethod
    def scaling(
        self,
        sigma: Tensor,  # (B,) in (0, inf]: multiples of the noise field
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
            lambda z: skip * lowpass(z), lambda f: out * resample(f, grid.shape), lambda z: into * resample(z, working.shape),
            out.square().view(-1),
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
        unit = math.sqrt(grid.pixels / working.pixels)  # a function of unit modes on one grid has others on another
        return Scaling(
            lambda z: idct(_mix(decode, skip * _mix(encode, dct(z)))),
            lambda f: idct(_mix(decode, out * _mix(rotate.transpose(0, 1), dct(resample(f, grid.shape))))) / unit,
            lambda z: resample(idct(_mix(rotate, into * _mix(encode, dct(z)))), working.shape) * unit,
            (out.square() * norm).sum(1).mean((1, 2)) / grid.channels,
        )


def _mix(matrix: Tensor, modes: Tensor) -> Tensor:
    return torch.einsum("cdhw,bdhw->bchw", matrix, modes)


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
