"""Denoisers that were trained elsewhere, as priors."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import DataError, Unavailable, first_line
from invkit.core.grid import Grid
from invkit.core.settings import PathSetting
from invkit.reconstructors.base import Sources
from invkit.reconstructors.zeroshot.closed_form import WhiteNoisePrior
from invkit.reconstructors.zeroshot.prior import Prior
from invkit.reconstructors.zeroshot.priors import ImagePrior, reference

Denoiser = Callable[[Tensor, float], Tensor]  # images in [-1, 1] with white noise, and its pixel std, to clean images
Level = Literal["argument", "channel", "none"]


@dataclass(frozen=True)
class DenoiserPrior(WhiteNoisePrior):
    """A denoiser of images with white noise; mean and standard deviation are those of the field fitted to the training images."""

    denoiser: Denoiser = lambda x, std: x

    @classmethod
    def of(cls, sources: Sources, denoiser: Denoiser) -> "DenoiserPrior":
        """The prior of a denoiser `f(x, std)`: x (B, C, H, W) is an image in [-1, 1] with white noise of pixel std `std`."""
        own = cls.white(sources.model.prior, reference(sources))
        return cls(own.data, own.field, own.scale, denoiser)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        clean = self.denoiser(x, sigma * self.noise_std(Grid(x.shape[2], x.shape[3], x.shape[1])))
        if clean.shape != x.shape:
            raise DataError(f"a denoiser returned {tuple(clean.shape)} for images {tuple(x.shape)}")
        return clean.to(x)


class DenoiserFile(ImagePrior):
    """A denoiser in a file of torch.jit (TorchScript) or torch.export (.pt2)."""

    file: PathSetting = Field(min_length=1, description="the file; TorchScript, or torch.export if it ends with .pt2")
    level: Level = Field(
        description="how the noise level is given: the second argument, of shape (B,); a channel of the image; or not at all"
    )
    range: tuple[float, float] = Field(
        description="pixel values for black and white: [-1, 1], [0, 1] or [0, 255]; the noise level is in the same unit"
    )
    output: Literal["image", "noise"] = Field("image", description="what is returned: the clean image, or the noise")
    multiple: int = Field(1, ge=1, description="number of which the sides of an image are multiples")

    def build(self, sources: Sources) -> Prior:
        call = _loaded(Path(self.file), str(sources.model.token.device), _changed(Path(self.file)))
        low, high = self.range
        if high <= low:
            raise DataError(f"range: {low:g} for black is not below {high:g} for white")
        unit = (high - low) / 2

        def denoise(x: Tensor, std: float) -> Tensor:
            require_multiple(x, self.multiple, self.file)
            u, level = low + unit * (x + 1), torch.full((len(x),), unit * std, dtype=x.dtype, device=x.device)
            if self.level == "channel":
                arguments = (torch.cat([u, level.view(-1, 1, 1, 1).expand_as(u[:, :1])], 1),)
            else:
                arguments = (u, level) if self.level == "argument" else (u,)  # type: ignore[assignment]
            found = _called(call, arguments, self.file)
            clean = found if self.output == "image" else u - found
            return (clean - low) / unit - 1

        return DenoiserPrior.of(sources, denoise)


def require_multiple(x: Tensor, multiple: int, what: str) -> None:
    """Raises Unavailable if the sides of images (B, C, H, W) are no multiples of a number."""
    if x.shape[2] % multiple or x.shape[3] % multiple:
        raise Unavailable(
            f"{what} works on images whose sides are multiples of {multiple}, not on {x.shape[2]}x{x.shape[3]}"
        )


def _called(call: Callable[..., Tensor], arguments: tuple[Tensor, ...], file: str) -> Tensor:
    try:
        return call(*arguments)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        shapes = " and ".join(str(tuple(t.shape)) for t in arguments)
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DataError(f"{file} fails for arguments of shape {shapes}: {last}; see `level` and `multiple`") from None


def _changed(file: Path) -> int:
    """Time of the last change. Raises DataError if there is no such file."""
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    return file.stat().st_mtime_ns


@lru_cache(maxsize=4)
def _loaded(file: Path, device: str, changed: int) -> Callable[..., Tensor]:
    """The function of a file, without gradients of its parameters; each is loaded once."""
    try:
        if file.suffix == ".pt2":
            module = torch.export.load(file).module().to(device)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # torch advises torch.export, which makes files of the other kind
                module = torch.jit.load(file, map_location=device).eval()
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} is no file of torch.jit.save or torch.export.save: {first_line(error)}") from None
    for p in module.parameters():
        p.requires_grad_(False)
    return module
