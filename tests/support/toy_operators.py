"""Operators with explicit matrices, and their measurements of smooth images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.composed import Composed
from invkit.physics.operators.convolution import Convolution
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable

FIELD = MaternField(std=0.5, length=0.3, exponent=2.0, color=0.5)


@dataclass(frozen=True, eq=False)
class Sums(LinearOperator):
    """Weighted sums of the image, with a `range_weight` other than 1."""

    rows: Tensor  # (B, M, C, H, W)

    @property
    def grid(self) -> Grid:
        return Grid(*self.rows.shape[3:], self.rows.shape[2])

    @property
    def range_shape(self) -> tuple[int, ...]:
        return (self.rows.shape[1],)

    @property
    def range_weight(self) -> float:
        return 0.25

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bmchw,bchw->bm", self.rows.to(x), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("bmchw,bm->bchw", self.rows.to(y), y) * (self.range_weight / self.grid.area)

    def pinv(self, y: Tensor) -> Tensor:
        inverse = torch.linalg.pinv(self.rows.flatten(2).double()).to(y)
        return (inverse @ y[:, :, None]).view(-1, *self.grid.picture)

    def __len__(self) -> int:
        return len(self.rows)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


GRID = Grid(5, 6, 2)
OPERATORS: dict[str, LinearOperator] = {  # of two images on GRID
    "mask": Mask(random(2, 2, 5, 6) > 0.3),
    "separable": Separable(2, GRID, color=random(2, 1, 2), rows=random(1, 4, 5)),
    "convolution": Convolution.of(2, GRID, random(1, 5, 6)),
    "composed": Composed((Separable(2, GRID, rows=random(1, 4, 5)), Mask(random(2, 1, 4, 6) > 0.3, 2))),
}


def matrix(operator: LinearOperator, item: int = 0) -> Tensor:
    """The operator of one image as a matrix (range, domain), float64."""
    size = torch.Size(operator.grid.picture).numel()
    columns = torch.eye(size, dtype=torch.float64).view(size, *operator.grid.picture)
    return operator[item : item + 1].repeat(size).forward(columns).flatten(1).T


def toy(kind: str, grid: Grid, sigma: float = 0.0, batch: int = 3) -> tuple[Measurement, Tensor]:
    """A float32 measurement and its matrices (B, M, CHW) float64, without rows of unobserved pixels."""
    keys = Keys.of(0, "toy", range(batch))
    if kind == "sums":
        operator: LinearOperator = Sums(keys.normal("rows", 12, *grid.picture) / 4)
        matrices = operator.rows.flatten(2).double()  # type: ignore[attr-defined]
    else:
        channels = grid.channels if kind == "masks" else 1
        rank = torch.stack([keys.permutation(f"pixels/{c}", grid.pixels) for c in range(channels)], 1)
        operator = Mask((rank < grid.pixels // 4).view(-1, channels, *grid.shape), grid.channels)
        matrices = matrix_of(operator)
    x = FIELD.sample(keys, grid)
    return measure(operator, x, Noise(sigma=sigma), keys), matrices


def matrix_of(mask: Mask) -> Tensor:
    """Masks with equal numbers of observed pixels as matrices (B, M, CHW)."""
    observed = mask.observed.expand(-1, mask.grid.channels, -1, -1).flatten(1)
    unit = torch.eye(observed.shape[1], dtype=torch.float64)
    return torch.stack([unit[row] for row in observed])


def values(measurement: Measurement) -> Tensor:
    """Measured values (B, M) float64, in the order of the rows of the matrices."""
    y, operator = measurement.y.double(), measurement.operator
    if not isinstance(operator, Mask):
        return y.flatten(1)
    observed = operator.observed.expand_as(y)
    return torch.stack([image[mask] for image, mask in zip(y, observed, strict=True)])
