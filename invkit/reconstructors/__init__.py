"""Reconstructors, by their names in `eval.methods`."""

from invkit.reconstructors.base import Method, Reconstructor, Sources
from invkit.reconstructors.biharmonic import BiharmonicMethod
from invkit.reconstructors.gaussian import GaussianMethod, OracleMethod
from invkit.reconstructors.interpolation import LinearMethod, NearestMethod
from invkit.reconstructors.lmmse import LmmseMethod
from invkit.reconstructors.model import ModelMethod, UntrainedMethod
from invkit.reconstructors.pinv import PinvMethod
from invkit.reconstructors.tv import TvMethod
from invkit.reconstructors.zeroshot import SOLVERS

METHODS: dict[str, type[Method]] = {
    "nearest": NearestMethod,
    "gaussian": GaussianMethod,
    "linear": LinearMethod,
    "biharmonic": BiharmonicMethod,
    "pinv": PinvMethod,
    "tv": TvMethod,
    "lmmse": LmmseMethod,
    "oracle": OracleMethod,
    "untrained": UntrainedMethod,
    "model": ModelMethod,
    **SOLVERS,
}

__all__ = ["METHODS", "Method", "Reconstructor", "Sources"]
