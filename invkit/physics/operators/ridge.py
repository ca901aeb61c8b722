"""The damped least-squares step that proximal and guided solvers share."""

from torch import Tensor

from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.least_squares import least_squares

TOLERANCE = 1e-3  # of the iterative solution


def ridge(
    operator: LinearOperator,
    r: Tensor,  # (B, *range_shape)
    damping: float,
) -> Tensor:
    """`A^T (A A^T + damping)^-1 r` (B, C, H, W), the picture that makes `|A u - r|^2 + damping |u|^2` least.

    Without damping it is `A^+ r`. Closed form where the operator's singular values are at hand, else conjugate gradients.
    """
    if damping == 0:
        return operator.pinv(r)
    found = operator.spectral(lambda s: s.square() / (s.square() + damping), operator.pinv(r))
    return least_squares(operator, r, TOLERANCE, damping=damping) if found is None else found
