"""Phase retrieval: magnitudes of Fourier transforms are measured, their phases are not."""

import math
from collections.abc import Mapping

import torch

from invkit.api import Degradation, Field, Grid, Keys, Operator, hookimpl
from invkit_phase.magnitudes import Magnitudes

__all__ = ["CodedDiffraction", "FourierMagnitudes", "Magnitudes"]


class FourierMagnitudes(Degradation):
    """`y = |F Z (x + 1) / 2|`: magnitudes of the orthonormal Fourier transform of the image with a border of zeros, Z.

    An image and the same image turned by 180 degrees have the same magnitudes, and so have images shifted within the border: the
    posterior has modes for all of them. With an oversampling of two or more, almost all other images differ (Hayes 1982).
    """

    oversampling: float = Field(2.0, ge=1, le=4, description="side of the padded image, relative to that of the image")

    def sample(self, keys: Keys, grid: Grid) -> Operator:
        size = math.ceil(self.oversampling * grid.height), math.ceil(self.oversampling * grid.width)
        masks = torch.ones(1, 1, *grid.shape, dtype=torch.complex128, device=keys.device)
        return Magnitudes(len(keys), grid, size, masks)


class CodedDiffraction(Degradation):
    """`y_l = |F M_l (x + 1) / 2|` for l up to `patterns`: coded diffraction (Candes, Li & Soltanolkotabi 2015).

    M_l multiplies each pixel by a random one of 1, i, -1 and -i, drawn for each image and known; F is the orthonormal Fourier
    transform. Only the sign of `(x + 1) / 2` cannot be told, and it is positive for an image.
    """

    patterns: int = Field(2, ge=1, le=16, description="diffraction patterns of an image, each with a mask of its own")

    def sample(self, keys: Keys, grid: Grid) -> Operator:
        quarter = keys.integers("masks", 4, self.patterns, *grid.shape)
        units = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128, device=keys.device)
        return Magnitudes(len(keys), grid, grid.shape, units[quarter])


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"phase-fourier": FourierMagnitudes, "phase-coded": CodedDiffraction}
