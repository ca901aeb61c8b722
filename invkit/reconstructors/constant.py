"""What a measurement says about a constant picture: the part of a reconstruction that no smoothness penalty sees."""

import torch
from torch import Tensor

from invkit.physics.operators.base import LinearOperator


class ConstantColour:
    """The fit of a constant colour to measured values, least squares and of least norm, for each of a batch.

    With `N = A 1_c` the image of the constant picture of one channel, the colour is `N+ y`.
    """

    def __init__(self, operator: LinearOperator, like: Tensor) -> None:
        channels, picture = operator.grid.channels, (len(operator), *operator.grid.picture)
        units = torch.eye(channels, dtype=like.dtype, device=like.device)[:, None, :, None, None].expand(-1, *picture)
        self._images = torch.stack([operator.forward(unit.contiguous()).flatten(1) for unit in units], 1)  # (B, C, M)
        self._inverse = torch.linalg.pinv(self._images @ self._images.mT, rtol=1e-5, hermitian=True)

    def fit(self, y: Tensor) -> Tensor:
        """`N+ y`: (B, *range_shape) to (B, C)."""
        return (self._inverse @ (self._images @ y.flatten(1)[:, :, None]))[..., 0]

    def explained(self, y: Tensor) -> Tensor:
        """`N N+ y`, what the constant picture explains of y (B, *range_shape)."""
        return (self.fit(y)[:, None] @ self._images).view_as(y)
