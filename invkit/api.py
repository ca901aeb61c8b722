"""Everything a plugin's author needs, in one place."""

from pydantic import Field

from invkit.convolution import Convolution
from invkit.data.base import Dataset, Images, Split
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
    "strokes",
    "strongest",
]
