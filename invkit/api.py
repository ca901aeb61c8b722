"""Everything a plugin's author needs, in one place; loaded when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field

    from invkit.convolution import Convolution
    from invkit.data.base import Dataset, Images, Split
    from invkit.data.images import read_image
    from invkit.degradation import Degradation, Measurement
    from invkit.errors import DataError, RecipeError
    from invkit.grid import Grid
    from invkit.hookspecs import hookimpl
    from invkit.keys import Keys
    from invkit.leastsquares import least_squares
    from invkit.metrics.base import Means, Metric, Outcome, Unavailable
    from invkit.operators import LinearOperator, Mask
    from invkit.reconstruct import Method, Sources
    from invkit.reconstruct.base import Reconstructor
    from invkit.separable import Separable, strongest
    from invkit.settings import PathSetting, Settings
    from invkit.shapes import strokes

__all__ = [
    "Convolution",
    "DataError",
    "Dataset",
    "Degradation",
    "Field",
    "Grid",
    "Images",
    "Keys",
    "LinearOperator",
    "Mask",
    "Means",
    "Measurement",
    "Method",
    "Metric",
    "Outcome",
    "PathSetting",
    "RecipeError",
    "Reconstructor",
    "Separable",
    "Settings",
    "Sources",
    "Split",
    "Unavailable",
    "hookimpl",
    "least_squares",
    "read_image",
    "strokes",
    "strongest",
]

_HOMES = {
    "pydantic": ["Field"],
    "invkit.convolution": ["Convolution"],
    "invkit.data.base": ["Dataset", "Images", "Split"],
    "invkit.data.images": ["read_image"],
    "invkit.degradation": ["Degradation", "Measurement"],
    "invkit.errors": ["DataError", "RecipeError"],
    "invkit.grid": ["Grid"],
    "invkit.hookspecs": ["hookimpl"],
    "invkit.keys": ["Keys"],
    "invkit.leastsquares": ["least_squares"],
    "invkit.metrics.base": ["Means", "Metric", "Outcome", "Unavailable"],
    "invkit.operators": ["LinearOperator", "Mask"],
    "invkit.reconstruct": ["Method", "Sources"],
    "invkit.reconstruct.base": ["Reconstructor"],
    "invkit.separable": ["Separable", "strongest"],
    "invkit.settings": ["PathSetting", "Settings"],
    "invkit.shapes": ["strokes"],
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'invkit.api' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
