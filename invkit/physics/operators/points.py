"""The values of images at points with exact coordinates."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.gaussian.basis import cosines, waves
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.least_squares import least_squares

TOLERANCE = 1e-4  # of the iterative pseudo-inverse


@dataclass(frozen=True, eq=False)
class PointValues(LinearOperator):
    """The values `A x` (B, C, N) of images at points: their cosine interpolation.

    An image is the sum of its cosine modes, the basis of Gaussian fields, which is evaluated at the points: with coefficients
    `a = dct(x)`, the value at (u, v) is `sum_kl a_kl cos(pi k v) cos(pi l u)`, normalised. At the centre of a cell it is the value
    of the cell.
    """

    domain: Grid
    coordinates: Tensor  # (B, N, 2) float64: x over the width, y over the height

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, int]:
        return self.domain.channels, self.coordinates.shape[1]

    @property
    def pinv_tolerance(self) -> float:
        return 25 * TOLERANCE

    @cached_property
    def matrix(self) -> Tensor:
        """The value of each point as weights of the cells, (B, N, H * W) float64."""
        rows, columns = (
            cosines(self.coordinates[..., axis], n) @ waves(n, "cosine", self.coordinates.device, torch.float64)
            for axis, n in ((1, self.domain.height), (0, self.domain.width))
        )
        return (rows[:, :, :, None] * columns[:, :, None]).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2) @ self.matrix.to(x).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y)).unflatten(2, self.domain.shape) / self.domain.area

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y, TOLERANCE)

    def __len__(self) -> int:
        return len(self.coordinates)
