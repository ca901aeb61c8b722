"""Gaussian fields: laws of pictures on every grid, and the bases in which they are diagonal."""

from invkit.physics.gaussian.basis import dct, frequencies, idct, resample
from invkit.physics.gaussian.field import Achromatic, GaussianField, inner
from invkit.physics.gaussian.fitted import ExtrapolatedField, FittedField
from invkit.physics.gaussian.stationary import FIELDS, MaternField, SquaredExponentialField, StationaryField, WhiteField

__all__ = [
    "FIELDS",
    "Achromatic",
    "ExtrapolatedField",
    "FittedField",
    "GaussianField",
    "MaternField",
    "SquaredExponentialField",
    "StationaryField",
    "WhiteField",
    "dct",
    "frequencies",
    "idct",
    "inner",
    "resample",
]
