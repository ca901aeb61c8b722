"""Gaussian fields: laws of pictures on every grid, and the bases in which they are diagonal."""

from invkit.physics.gaussian.basis import dct, frequencies, idct, resample
from invkit.physics.gaussian.field import Achromatic, GaussianField, inner
from invkit.physics.gaussian.fitted import FittedField, SupposedField
from invkit.physics.gaussian.stationary import FIELDS, Law, MaternField, SquaredExponentialField, WhiteField

__all__ = [
    "FIELDS",
    "Achromatic",
    "FittedField",
    "GaussianField",
    "Law",
    "MaternField",
    "SquaredExponentialField",
    "SupposedField",
    "WhiteField",
    "dct",
    "frequencies",
    "idct",
    "inner",
    "resample",
]
