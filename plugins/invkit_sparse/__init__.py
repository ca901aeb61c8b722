"""Sparse sampling: some pixels are observed, at random, in a pattern, around the centre or along strokes."""

from collections.abc import Mapping

from invkit.api import Degradation, hookimpl
from invkit_sparse.patterns import Checkerboard, HalfImage, Lines, StrokePixels
from invkit_sparse.pixels import CenterPixels, GridPixels, RandomPixels

__all__ = ["CenterPixels", "Checkerboard", "GridPixels", "HalfImage", "Lines", "RandomPixels", "StrokePixels"]


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {
        "sparse-random": RandomPixels,
        "sparse-grid": GridPixels,
        "sparse-center": CenterPixels,
        "sparse-lines": Lines,
        "sparse-checker": Checkerboard,
        "sparse-half": HalfImage,
        "sparse-strokes": StrokePixels,
    }
