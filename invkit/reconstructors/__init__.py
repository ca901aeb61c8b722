"""Reconstructors, by name in `eval.methods`."""

from invkit.reconstructors.base import Method, Reconstructor, Sources
from invkit.reconstructors.biharmonic import Biharmonic
from invkit.reconstructors.gaussian import GaussianMethod, OracleMethod
from invkit.reconstructors.interpolation import Linear, Nearest
from invkit.reconstructors.lmmse import LmmseMethod
from invkit.reconstructors.model import ModelMethod, UntrainedMethod
from invkit.reconstructors.pinv import PseudoInverse
from invkit.reconstructors.tv import TotalVariation
from invkit.reconstructors.zeroshot import SOLVERS

METHODS: dict[str, type[Method]] = {
    "nearest": Nearest,
    "gaussian": GaussianMethod,
    "linear": Linear,
    "biharmonic": Biharmonic,
    "pinv": PseudoInverse,
    "tv": TotalVariation,
    "lmmse": LmmseMethod,
    "oracle": OracleMethod,
    "untrained": UntrainedMethod,
    "model": ModelMethod,
    **SOLVERS,
}

__all__ = ["METHODS", "Method", "Reconstructor", "Sources"]
