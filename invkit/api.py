"""The public API for plugin authors."""

from pydantic import Field

from invkit.core.errors import DataError, PluginError, RecipeError, Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import PathSetting, Settings
from invkit.data.base import Dataset, Images, Split
from invkit.data.decoding import read_image, read_mask
from invkit.diffusion.networks import Network
from invkit.diffusion.samplers import Sampler
from invkit.evaluation.metrics.base import Means, Metric, Outcome
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement
from invkit.physics.noise import NoiseLaw
from invkit.physics.noise.quantised import log_mass
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.physics.operators.convolution import Convolution
from invkit.physics.operators.least_squares import least_squares
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable, strongest
from invkit.physics.strokes import strokes
from invkit.plugins.hookspecs import hookimpl
from invkit.reconstructors import Method, Sources
from invkit.reconstructors.base import Reconstructor
from invkit.reconstructors.zeroshot import DenoiserPrior, ImagePrior, Prior

__all__ = [
    "Convolution",
    "DataError",
    "Dataset",
    "Degradation",
    "DenoiserPrior",
    "Field",
    "Grid",
    "ImagePrior",
    "Images",
    "Keys",
    "LinearOperator",
    "Mask",
    "Means",
    "Measurement",
    "Method",
    "Metric",
    "Network",
    "NoiseLaw",
    "Operator",
    "Outcome",
    "PathSetting",
    "PluginError",
    "Prior",
    "RecipeError",
    "Reconstructor",
    "Sampler",
    "Separable",
    "Settings",
    "Sources",
    "Split",
    "Unavailable",
    "hookimpl",
    "least_squares",
    "log_mass",
    "read_image",
    "read_mask",
    "strokes",
    "strongest",
]
