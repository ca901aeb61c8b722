"""The pseudo-inverse."""

from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import PointEstimate


class PseudoInverse(PointEstimate):
    """The pseudo-inverse `A+ y`, the least-squares image of least norm; for a mask, zero where nothing is observed.

    A truncated pseudo-inverse leaves out the weakest singular values (see `LinearOperator.pinv_tolerance`); it takes no
    account of noise.
    """

    name = "pinv"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        return measurement.operator.pinv(measurement.y)
