"""The physics of DeepInverse that recipes may name: their settings, and how they are built for a grid."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch

from invkit.api import Field, Grid, Settings


def library() -> Any:
    """DeepInverse's physics. Raises ValueError where it is not installed."""
    try:
        import deepinv.physics
    except ImportError as error:
        raise ValueError(
            f"the degradation `deepinv` needs DeepInverse ({error}); pip install 'invkit[deepinv]'"
        ) from None
    return deepinv.physics


class Physics(Settings, ABC):
    """A physics of DeepInverse and its settings; lengths are in pixels, as DeepInverse has them."""

    random: ClassVar[bool] = False  # drawn anew for every picture
    exact: ClassVar[bool] = False  # A_dagger is a closed form

    @abstractmethod
    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        """The physics on a grid. Raises ValueError for a grid that it does not serve."""

    def domain(self, grid: Grid) -> tuple[int, int, int]:
        """What one call sees: the picture, or one channel of it."""
        return grid.picture


class Inpainting(Physics):
    """Each pixel is kept with a probability."""

    random, exact = True, True
    share: float = Field(0.3, gt=0, le=1, description="probability that a pixel is kept")
    pixelwise: bool = Field(True, description="all channels of a pixel, or each for itself")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Inpainting(grid.picture, mask=float(self.share), pixelwise=self.pixelwise, rng=rng)


class Demosaicing(Physics):
    """One colour a pixel, in Bayer's pattern."""

    exact = True

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Demosaicing(_rgb(grid).picture)


class Decolorize(Physics):
    """A weighted mean of the channels."""

    exact = True
    srf: Literal["rec601", "flat"] = Field("rec601", description="weights of the channels")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if self.srf == "rec601":
            _rgb(grid)
        return library().Decolorize(grid.channels, srf=self.srf)


class Denoising(Physics):
    """The picture itself; the recipe's noise is added."""

    exact = True

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Denoising(noise_model=library().ZeroNoise())


class Downsampling(Physics):
    """Every `factor`-th pixel of a filtered picture."""

    factor: int = Field(2, ge=1, le=8, description="pixels per measured pixel along an axis")
    filter: Literal["gaussian", "bilinear", "bicubic", "sinc"] | None = Field("bicubic", description="null: none")
    padding: Literal["circular", "valid", "replicate", "reflect"] = Field("circular", description="at the border")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Downsampling(grid.picture, filter=self.filter, factor=self.factor, padding=self.padding)


class DownsamplingMatlab(Physics):
    """MATLAB's imresize."""

    factor: int = Field(2, ge=1, le=8, description="pixels per measured pixel along an axis")
    antialiasing: bool = Field(True, description="filter before sampling")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().DownsamplingMatlab(factor=self.factor, antialiasing=self.antialiasing)


class Blur(Physics):
    """Convolution with a Gaussian, in space."""

    sigma: float = Field(1.0, gt=0, le=16, description="standard deviation, in pixels")
    padding: Literal["circular", "valid", "replicate", "reflect"] = Field("circular", description="at the border")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Blur(_gaussian(self.sigma), padding=self.padding)


class BlurFFT(Physics):
    """Periodic convolution with a Gaussian, by Fourier transform."""

    exact = True
    sigma: float = Field(1.0, gt=0, le=16, description="standard deviation, in pixels")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().BlurFFT(grid.picture, _gaussian(self.sigma))


class CompressedSensing(Physics):
    """Products with a matrix of independent normal entries."""

    random, exact = True, True
    share: float = Field(0.1, gt=0, le=1, description="measured values per value of the picture")
    channelwise: bool = Field(False, description="the same small matrix for each channel")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        n = math.prod(grid.picture[1:] if self.channelwise else grid.picture)
        return library().CompressedSensing(
            max(1, round(self.share * n)), grid.picture, channelwise=self.channelwise, rng=rng
        )


class StructuredRandom(Physics):
    """Random signs and sine transforms, in turn, cropped."""

    random = True
    share: float = Field(0.5, gt=0, le=1, description="rows and columns that are kept")
    layers: float = Field(1, ge=1, le=4, multiple_of=0.5, description="pairs of signs and transforms")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        kept = tuple(max(1, round(self.share * n)) for n in grid.shape)
        return library().StructuredRandom(grid.picture, (grid.channels, *kept), n_layers=self.layers, rng=rng)


class SinglePixel(Physics):
    """The first Hadamard coefficients of each channel."""

    exact = True
    share: float = Field(0.25, gt=0, le=1, description="coefficients that are kept")
    ordering: Literal["sequency", "cake_cutting", "zig_zag", "xy"] = Field("sequency", description="which are first")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if any(n & (n - 1) for n in grid.shape):
            raise ValueError(f"deepinv: single-pixel needs sides that are powers of 2, got {grid}")
        count = max(1, round(self.share * grid.pixels))
        return library().SinglePixelCamera(count, grid.picture, ordering=self.ordering)


class Tomography(Physics):
    """Parallel-beam Radon transform of each channel."""

    angles: int = Field(30, ge=1, le=720, description="directions, evenly over a half turn")
    circle: bool = Field(False, description="only the disc inside the picture is seen")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if grid.height != grid.width:
            raise ValueError(f"deepinv: tomography needs square pictures, got {grid}")
        return library().Tomography(self.angles, grid.width, circle=self.circle, normalize=True)


class Mri(Physics):
    """Columns of the Fourier transform of each channel, taken as a real picture; real and imaginary parts are measured."""

    random = True
    acceleration: int = Field(4, ge=1, le=16, description="columns per measured column")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        from deepinv.physics.generator import GaussianMaskGenerator

        mask = GaussianMaskGenerator(grid.shape, acceleration=self.acceleration, rng=rng).step(1)["mask"]
        return _RealMri(library().MRI(mask=mask, img_size=grid.shape))

    def domain(self, grid: Grid) -> tuple[int, int, int]:
        return 1, *grid.shape


class _RealMri(torch.nn.Module):
    """MRI of real pictures (B, 1, H, W): the imaginary part is put in as zero, and left out of the adjoint."""

    def __init__(self, mri: Any) -> None:
        super().__init__()
        self.mri = mri

    def A(self, x: torch.Tensor) -> torch.Tensor:
        return self.mri.A(torch.cat([x, torch.zeros_like(x)], 1))

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.mri.A_adjoint(y)[:, :1]


def _rgb(grid: Grid) -> Grid:
    if grid.channels != 3:
        raise ValueError(f"deepinv: this physics needs pictures of 3 channels, got {grid.channels}")
    return grid


def _gaussian(sigma: float) -> torch.Tensor:
    library()
    from deepinv.physics.functional import gaussian_blur

    return gaussian_blur(sigma=(sigma, sigma))


PHYSICS: dict[str, type[Physics]] = {
    "inpainting": Inpainting,
    "demosaicing": Demosaicing,
    "decolorize": Decolorize,
    "denoising": Denoising,
    "downsampling": Downsampling,
    "downsampling-matlab": DownsamplingMatlab,
    "blur": Blur,
    "blur-fft": BlurFFT,
    "compressed-sensing": CompressedSensing,
    "structured-random": StructuredRandom,
    "single-pixel": SinglePixel,
    "tomography": Tomography,
    "mri": Mri,
}
