"""Gaussian fields on every grid, and their posterior given a measurement (kriging).

Imports `core`, `physics.measurement` and `physics.operators`; this module itself re-exports the fields only.
"""

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
