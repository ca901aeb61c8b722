"""Gaussian fields: laws of pictures on every grid, and the bases in which they are diagonal."""

from invkit.field.base import Achromatic, GaussianField, inner
from invkit.field.basis import dct, frequencies, idct, resample
from invkit.field.fitted import FittedField
from invkit.field.laws import FIELDS, Law, MaternField, SquaredExponentialField, WhiteField
from invkit.field.supposed import SupposedField

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
