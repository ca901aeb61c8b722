"""The pseudo-inverse."""

from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear
from invkit.reconstructors.base import PointEstimate


class PseudoInverse(PointEstimate):
    """The pseudo-inverse `A^+ y`, the least-squares solution of minimum norm; for a mask, zero at hidden pixels.

    Operators with a truncated pseudo-inverse omit the smallest singular values (see `LinearOperator.pinv_tolerance`). Noise
    is not taken into account.
    """

    name = "pinv"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        return linear(measurement.operator, self.name).pinv(measurement.y)
