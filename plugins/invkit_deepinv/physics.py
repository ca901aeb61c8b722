"""The physics of DeepInverse that recipes may choose: settings, and construction on a grid."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch

from invkit.api import Field, Grid, PluginError, Settings


def library() -> Any:
    """The module `deepinv.physics`. Raises PluginError if DeepInverse is not installed."""
    try:
        import deepinv.physics
    except ImportError as error:
        raise PluginError(
            f"the degradation `deepinv` needs DeepInverse ({error}); pip install 'invkit[deepinv]'"
        ) from None
    return deepinv.physics


class Physics(Settings, ABC):
    """A physics of DeepInverse and its settings; lengths are in pixels, as in DeepInverse."""

    random: ClassVar[bool] = False  # drawn for each image
    exact: ClassVar[bool] = False  # A_dagger has a closed form

    @abstractmethod
    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        """The physics on a grid. Raises ValueError for an unsupported grid."""

    def domain(self, grid: Grid) -> tuple[int, int, int]:
        """Shape of the input of one call: the image, or one channel of it."""
        return grid.picture


class Inpainting(Physics):
    """Keep each pixel with probability `share`."""

    random, exact = True, True
    share: float = Field(0.3, gt=0, le=1, description="probability that a pixel is kept")
    pixelwise: bool = Field(True, description="whether a pixel is kept or lost in all channels together")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Inpainting(grid.picture, mask=float(self.share), pixelwise=self.pixelwise, rng=rng)


class Demosaicing(Physics):
    """Measure one colour in each pixel, in the Bayer pattern."""

    exact = True

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Demosaicing(_rgb(grid).picture)


class Decolorize(Physics):
    """Measure a weighted mean of the channels."""

    exact = True
    srf: Literal["rec601", "flat"] = Field("rec601", description="weights of the channels")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if self.srf == "rec601":
            _rgb(grid)
        return library().Decolorize(grid.channels, srf=self.srf)


class Denoising(Physics):
    """Measure the image itself, with the noise of the recipe."""

    exact = True

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Denoising(noise_model=library().ZeroNoise())


class Downsampling(Physics):
    """Measure every `factor`-th pixel of a filtered image."""

    factor: int = Field(2, ge=1, le=8, description="pixels per measured pixel along an axis")
    filter: Literal["gaussian", "bilinear", "bicubic", "sinc"] | None = Field("bicubic", description="null: none")
    padding: Literal["circular", "valid", "replicate", "reflect"] = Field("circular", description="at the border")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Downsampling(grid.picture, filter=self.filter, factor=self.factor, padding=self.padding)


class DownsamplingMatlab(Physics):
    """Downsample as MATLAB's imresize does."""

    factor: int = Field(2, ge=1, le=8, description="pixels per measured pixel along an axis")
    antialiasing: bool = Field(True, description="filter before sampling")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().DownsamplingMatlab(factor=self.factor, antialiasing=self.antialiasing)


class Blur(Physics):
    """Convolve with a Gaussian in the spatial domain."""

    sigma: float = Field(1.0, gt=0, le=16, description="standard deviation, in pixels")
    padding: Literal["circular", "valid", "replicate", "reflect"] = Field("circular", description="at the border")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().Blur(_gaussian(self.sigma), padding=self.padding)


class BlurFFT(Physics):
    """Convolve periodically with a Gaussian, by Fourier transform."""

    exact = True
    sigma: float = Field(1.0, gt=0, le=16, description="standard deviation, in pixels")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        return library().BlurFFT(grid.picture, _gaussian(self.sigma))


class CompressedSensing(Physics):
    """Multiply by a matrix of independent normal entries."""

    random, exact = True, True
    share: float = Field(0.1, gt=0, le=1, description="measured values per value of the image")
    channelwise: bool = Field(False, description="the same small matrix for each channel")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        n = math.prod(grid.picture[1:] if self.channelwise else grid.picture)
        return library().CompressedSensing(
            max(1, round(self.share * n)), grid.picture, channelwise=self.channelwise, rng=rng
        )


class StructuredRandom(Physics):
    """Apply random signs and sine transforms alternately, and crop the result."""

    random = True
    share: float = Field(0.5, gt=0, le=1, description="rows and columns that are kept")
    layers: float = Field(1, ge=1, le=4, multiple_of=0.5, description="pairs of signs and transforms")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        kept = tuple(max(1, round(self.share * n)) for n in grid.shape)
        return library().StructuredRandom(grid.picture, (grid.channels, *kept), n_layers=self.layers, rng=rng)


class SinglePixel(Physics):
    """Measure the first Hadamard coefficients of each channel."""

    exact = True
    share: float = Field(0.25, gt=0, le=1, description="coefficients that are kept")
    ordering: Literal["sequency", "cake_cutting", "zig_zag", "xy"] = Field("sequency", description="which are first")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if any(n & (n - 1) for n in grid.shape):
            raise ValueError(f"deepinv: single-pixel needs sides that are powers of 2, got {grid}")
        count = max(1, round(self.share * grid.pixels))
        return library().SinglePixelCamera(count, grid.picture, ordering=self.ordering)


class Tomography(Physics):
    """Measure the parallel-beam Radon transform of each channel."""

    angles: int = Field(30, ge=1, le=720, description="directions, evenly spaced over 180 degrees")
    circle: bool = Field(False, description="measure only the disc inscribed in the image")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        if grid.height != grid.width:
            raise ValueError(f"deepinv: tomography needs square images, got {grid}")
        return library().Tomography(self.angles, grid.width, circle=self.circle, normalize=True)


class Mri(Physics):
    """Measure columns of the Fourier transform of each channel, a real image; values are real and imaginary parts."""

    random = True
    acceleration: int = Field(4, ge=1, le=16, description="columns per measured column")

    def build(self, grid: Grid, rng: torch.Generator) -> Any:
        from deepinv.physics.generator import GaussianMaskGenerator

        mask = GaussianMaskGenerator(grid.shape, acceleration=self.acceleration, rng=rng).step(1)["mask"]
        return _RealMri(library().MRI(mask=mask, img_size=grid.shape))

    def domain(self, grid: Grid) -> tuple[int, int, int]:
        return 1, *grid.shape


class _RealMri(torch.nn.Module):
    """MRI of real images (B, 1, H, W): the imaginary part of the input is zero, and that of the adjoint is dropped."""

    def __init__(self, mri: Any) -> None:
        super().__init__()
        self.mri = mri

    def A(self, x: torch.Tensor) -> torch.Tensor:
        return self.mri.A(torch.cat([x, torch.zeros_like(x)], 1))

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.mri.A_adjoint(y)[:, :1]


def _rgb(grid: Grid) -> Grid:
    if grid.channels != 3:
        raise ValueError(f"deepinv: this physics needs images of 3 channels, got {grid.channels}")
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
