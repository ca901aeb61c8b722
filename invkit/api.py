"""Everything a plugin's author needs, in one place; loaded when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field

    from invkit.core.errors import DataError, RecipeError, Unavailable
    from invkit.core.grid import Grid
    from invkit.core.keys import Keys
    from invkit.core.settings import PathSetting, Settings
    from invkit.data.base import Dataset, Images, Split
    from invkit.data.decoding import read_image
    from invkit.evaluation.metrics.base import Means, Metric, Outcome
    from invkit.physics.degradation import Degradation
    from invkit.physics.measurement import Measurement
    from invkit.physics.operators.base import LinearOperator
    from invkit.physics.operators.convolution import Convolution
    from invkit.physics.operators.least_squares import least_squares
    from invkit.physics.operators.mask import Mask
    from invkit.physics.operators.separable import Separable, strongest
    from invkit.physics.strokes import strokes
    from invkit.plugins.hookspecs import hookimpl
    from invkit.reconstructors import Method, Sources
    from invkit.reconstructors.base import Reconstructor

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
    "invkit.data.decoding": ["read_image"],
    "pydantic": ["Field"],
    "invkit.physics.operators.convolution": ["Convolution"],
    "invkit.data.base": ["Dataset", "Images", "Split"],
    "invkit.physics.degradation": ["Degradation"],
    "invkit.physics.measurement": ["Measurement"],
    "invkit.core.errors": ["DataError", "RecipeError", "Unavailable"],
    "invkit.core.grid": ["Grid"],
    "invkit.plugins.hookspecs": ["hookimpl"],
    "invkit.core.keys": ["Keys"],
    "invkit.physics.operators.least_squares": ["least_squares"],
    "invkit.evaluation.metrics.base": ["Means", "Metric", "Outcome"],
    "invkit.physics.operators.base": ["LinearOperator"],
    "invkit.physics.operators.mask": ["Mask"],
    "invkit.reconstructors": ["Method", "Sources"],
    "invkit.reconstructors.base": ["Reconstructor"],
    "invkit.physics.operators.separable": ["Separable", "strongest"],
    "invkit.core.settings": ["PathSetting", "Settings"],
    "invkit.physics.strokes": ["strokes"],
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'invkit.api' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
