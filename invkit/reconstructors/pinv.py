"""The pseudo-inverse: what the measurement alone says."""

from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, PointEstimate, Reconstructor, Sources


class PseudoInverse(PointEstimate):
    """`A+ y`, the operator's own: the least-squares picture of least norm, for a mask the measurement with zeros where hidden.

    A truncated pseudo-inverse leaves out the weakest singular values (see `LinearOperator.pinv_tolerance`); it takes no
    account of noise.
    """

    name = "pinv"

    def mean(self, measurement: Measurement) -> Tensor:
        return measurement.operator.pinv(measurement.y)


class PinvMethod(Method):
    """The pseudo-inverse of the measurement; for a mask, zero where nothing is seen."""

    def build(self, sources: Sources) -> Reconstructor:
        return PseudoInverse()
