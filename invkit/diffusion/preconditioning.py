"""Preconditioning: a denoiser `D(z, s) = skip z + out F(into z, s)` from a network F with inputs and outputs of unit scale."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from invkit.core.device import send
from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField, dct, idct, resample

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scaling:
    """`D = synthesis (skip + out F into) analysis` at noise levels (B,), or at one level for the whole batch.

    `analysis` maps images (B, C, H, W) to coordinates of the same shape in which the other maps are diagonal, `into` maps these to
    the network's grid (B, C, h, w), and `out` maps back. The scaling of a mode does not depend on the grid of the image.
    """

    analysis: Map  # image to coordinates
    into: Map  # coordinates to network
    skip: Map  # coordinates to coordinates
    out: Map  # network to coordinates
    synthesis: Map  # coordinates to image
    power: Tensor  # (B,): mean square, over pixels, of `out` applied to unit white noise


@dataclass(frozen=True, eq=False)
class FieldOfEach:
    """One of a few fields for each image of a batch."""

    fields: tuple[GaussianField, ...]
    which: Tensor  # (B,) int64

    def pixel_std(self, grid: Grid) -> Tensor:
        """That of each image's field, (B, 1, 1, 1)."""
        stds = torch.tensor([field.pixel_std(grid) for field in self.fields], dtype=torch.float32)
        return send(stds, self.which.device)[self.which].view(-1, 1, 1, 1)


class Preconditioning(Settings, ABC):
    """At noise level infinity z is a draw of the noise field, which all turn into one of the data field, or zero for the mean."""

    kind: ClassVar[str] = "preconditioning"

    @abstractmethod
    def scaling(
        self,
        sigma: Tensor,  # (B,) in (0, inf]: multiples of the noise field; or of length one, for the whole batch
        noise: GaussianField,
        data: GaussianField | FieldOfEach,  # of the residual, fitted to the training images
        grid: Grid,
        working: Grid | None = None,  # the network's; None for that of the image
    ) -> Scaling: ...


class ScalarPreconditioning(Preconditioning, ABC):
    """One factor for all modes, from the pixel standard deviations of noise and data."""

    data: float = Field(1.0, gt=0, description="standard deviation of the residual, 1 by construction")

    @abstractmethod
    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """`skip` and `out` at finite pixel standard deviations s of the noise, (B, 1, 1, 1)."""

    def scaling(
        self,
        sigma: Tensor,
        noise: GaussianField,
        data: GaussianField | FieldOfEach,
        grid: Grid,
        working: Grid | None = None,
    ) -> Scaling:
        working = working or grid
        common = min(grid, working, key=lambda g: g.pixels)  # the grid with the modes of both
        unit = noise.pixel_std(common)
        s = (sigma * unit).view(-1, 1, 1, 1)
        infinite = s.isinf()
        skip, out = self.factors(torch.where(infinite, 1.0, s))
        skip, out = torch.where(infinite, self.data / unit, skip), torch.where(infinite, self.data, out)
        into = torch.where(infinite, 1 / unit, (s**2 + self.data**2).rsqrt())

        def lowpass(z: Tensor) -> Tensor:  # a scalar factor does not fit modes beyond the network's grid
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
    """The network predicts `v = (n - s x0) / sqrt(1 + s^2)` (Salimans & Ho 2022, appendix D): for unit data, minus that of EDM."""

    def factors(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (1 + s**2), -s * (1 + s**2).rsqrt()


class SpectralPreconditioning(Preconditioning):
    """A factor for each mode: with a zero network, the exact denoiser of the Gaussian residual field.

    With the powers d of the data and l of the noise in a mode, `skip = d / (d + s^2 l)`, `into = (d + s^2 l)^-1/2` and
    `out = s sqrt(l d) / sqrt(d + s^2 l)`; the colour covariances of data and noise are diagonalised jointly.
    """

    def scaling(
        self,
        sigma: Tensor,
        noise: GaussianField,
        data: GaussianField | FieldOfEach,
        grid: Grid,
        working: Grid | None = None,
    ) -> Scaling:
        working = working or grid
        encode, rotate, decode, gain, norm = _pencil_of_each(noise, data, grid, sigma.device)
        s2 = sigma.square().view(-1, 1, 1, 1)
        infinite = s2.isinf()
        finite = s2.masked_fill(infinite, 1.0)
        skip = torch.where(infinite, gain.sqrt(), gain / (gain + finite))
        out = torch.where(infinite, gain, finite * gain / (gain + finite)).sqrt()
        height, width = (min(n, m) for n, m in zip(grid.shape, working.shape, strict=True))
        within = ..., slice(height), slice(width)  # the modes of both grids
        rotate = rotate[within]

        def into(u: Tensor) -> Tensor:
            factor = (gain + finite).rsqrt().masked_fill(infinite, 1.0)
            return idct(_fitted(_mix(rotate, factor[within] * u[within]), working))

        return Scaling(
            lambda z: _mix(encode, dct(z)),
            into,
            lambda u: skip * u,
            lambda f: _fitted(out[within] * _mix(rotate.transpose(-4, -3), dct(f)[within]), grid),
            lambda u: idct(_mix(decode, u)),
            (out.square() * norm).sum((1, 2, 3)) / (grid.channels * grid.pixels),
        )


class LinearPreconditioning(Preconditioning):
    """The denoiser of the Gaussian residual field plus a multiple of the network, whose input and output are images.

    With a zero network it equals that of `spectral`. There the network's input and output are whitened, which amplifies the finest
    modes; here both have the spectrum of images. `out` is the standard deviation of the field's posterior, over pixels.
    """

    def scaling(
        self,
        sigma: Tensor,
        noise: GaussianField,
        data: GaussianField | FieldOfEach,
        grid: Grid,
        working: Grid | None = None,
    ) -> Scaling:
        working = working or grid
        common = min(grid, working, key=lambda g: g.pixels)
        linear = SpectralPreconditioning().scaling(sigma, noise, data, grid)
        power = linear.power if common == grid else SpectralPreconditioning().scaling(sigma, noise, data, common).power
        s, d = (sigma * noise.pixel_std(common)).view(-1, 1, 1, 1), data.pixel_std(common)
        into = (s**2 + d**2).rsqrt()
        out = power.sqrt().view(-1, 1, 1, 1)

        @lru_cache(maxsize=1)  # of the same tensor for the input and the output of a call
        def skip(z: Tensor) -> Tensor:
            return linear.synthesis(linear.skip(linear.analysis(z)))

        return Scaling(
            _same, lambda z: resample(torch.where(s.isinf(), skip(z) / d, into * z), working.shape),
            skip, lambda f: out * resample(f, grid.shape), _same, power,
        )  # fmt: skip


def _same(x: Tensor) -> Tensor:
    return x


def _fitted(modes: Tensor, grid: Grid) -> Tensor:
    """Modes (B, C, h, w), zero-padded to a grid of at least as many."""
    return F.pad(modes, (0, grid.width - modes.shape[3], 0, grid.height - modes.shape[2]))


def _mix(matrix: Tensor, modes: Tensor) -> Tensor:
    """A colour matrix for each mode: ([B], C, D, H, W) times (B, D, H, W)."""
    first, *others = zip(
        matrix.unbind(-3), modes.split(1, 1), strict=True
    )  # a sum of few products is faster than many small matrices
    total = first[0] * first[1]
    for column, mode in others:
        total = torch.addcmul(total, column, mode)
    return total


def _pencil_of_each(
    noise: GaussianField, data: GaussianField | FieldOfEach, grid: Grid, device: torch.device
) -> tuple[Tensor, ...]:
    """`_pencil` of a field, or that of each image's field: with the batch in front."""
    if isinstance(data, FieldOfEach):
        return tuple(table[data.which] for table in _pencils(noise, data.fields, grid, device))
    return _pencil(noise, data, grid, device, torch.float32)


@lru_cache(maxsize=8)
def _pencils(noise: GaussianField, fields: tuple[GaussianField, ...], grid: Grid, device: torch.device) -> list[Tensor]:
    each = zip(*(_pencil(noise, field, grid, device, torch.float32) for field in fields), strict=True)
    return [torch.stack(tables) for tables in each]


@lru_cache(maxsize=32)
def _pencil(
    noise: GaussianField, data: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """`U^T l^-1/2`, `U` and `V = l^1/2 U`, (C, C, H, W), with `l^-1/2 d l^-1/2 = U g U^T` in each mode; the powers g (C, H, W),
    and the square norms of V's columns (C, H, W).
    """
    l, d = ((field.spectrum(grid).double().cpu() / grid.area).permute(2, 3, 0, 1) for field in (noise, data))
    assert l.shape == d.shape and noise.basis == "cosine", "checked by the recipe"
    values, vectors = torch.linalg.eigh(l)
    values = values.clamp(min=1e-12 * float(values.max()))
    half = vectors * values.sqrt().unsqueeze(-2) @ vectors.mT
    inverse = vectors * values.rsqrt().unsqueeze(-2) @ vectors.mT
    gain, rotate = torch.linalg.eigh(inverse @ d @ inverse)
    found = (rotate.mT @ inverse, rotate, half @ rotate)
    matrices = tuple(m.permute(2, 3, 0, 1).contiguous().to(device, dtype) for m in found)
    powers = gain.clamp(min=1e-20).permute(2, 0, 1).contiguous().to(device, dtype)
    return *matrices, powers, matrices[2].square().sum(0)
