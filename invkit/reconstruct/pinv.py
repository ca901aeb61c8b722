"""The pseudo-inverse: what the measurement alone says."""

from torch import Tensor

from invkit.degradation import Measurement
from invkit.reconstruct.method import PointEstimate


class PseudoInverse(PointEstimate):
    """The pseudo-inverse `A+ y`, the least-squares image of least norm; for a mask, zero where nothing is seen.

    A truncated pseudo-inverse leaves out the weakest singular values (see `LinearOperator.pinv_tolerance`); it takes no
    account of noise.
    """

    name = "pinv"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        return measurement.operator.pinv(measurement.y)
