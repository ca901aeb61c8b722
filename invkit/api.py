"""Everything a plugin's author needs, in one place; loaded when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field

    from invkit.convolution import Convolution
    from invkit.data.base import Dataset, Images, Split
    from invkit.degradation import Degradation
    from invkit.errors import DataError
    from invkit.grid import Grid
    from invkit.hookspecs import hookimpl
    from invkit.keys import Keys
    from invkit.leastsquares import least_squares
    from invkit.operators import LinearOperator, Mask
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
    "PathSetting",
    "Separable",
    "Settings",
    "Split",
    "hookimpl",
    "least_squares",
    "strokes",
    "strongest",
]

_HOMES = {
    "pydantic": ["Field"],
    "invkit.convolution": ["Convolution"],
    "invkit.data.base": ["Dataset", "Images", "Split"],
    "invkit.degradation": ["Degradation"],
    "invkit.errors": ["DataError"],
    "invkit.grid": ["Grid"],
    "invkit.hookspecs": ["hookimpl"],
    "invkit.keys": ["Keys"],
    "invkit.leastsquares": ["least_squares"],
    "invkit.operators": ["LinearOperator", "Mask"],
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
