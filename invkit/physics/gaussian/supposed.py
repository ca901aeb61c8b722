"""A law that was supposed, and is held against pictures up to some wave number only."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.gaussian.basis import Basis, frequencies
from invkit.physics.gaussian.field import GaussianField
from invkit.physics.gaussian.fitted import FittedField
from invkit.physics.gaussian.stationary import Law

PICTURES = 1 / 3  # weight of the pictures' law in the mean


@dataclass(frozen=True)
class SupposedField(GaussianField):
    """`law` on the grids that a model was trained on; of what finer grids add, a geometric mean of its power and the pictures'.

    The pictures' is that of the field fitted to them, continued beyond its band. A wrong law says most about what was never
    seen: on finer grids kriging with it alone has spikes at the sensors that no training met.
    """

    law: Law
    fitted: FittedField
    cells: int  # along the shorter side of the finest grid of the training

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        return self.law.basis

    def margin(self, grid: Grid) -> int:
        return self.law.margin(grid)

    def mean(self, grid: Grid) -> Tensor:
        return self.law.mean(grid)

    def spectrum(self, grid: Grid) -> Tensor:
        supposed = self.law.spectrum(grid)
        own = Grid(*(max(1, round(self.cells * e)) for e in grid.extent))
        k, held = (frequencies(g, supposed.device, self.basis, self.margin(g)) for g in (grid, own))
        beyond = (k > held.amax((1, 2), keepdim=True) + 1e-6).any(0)
        if not beyond.any():
            return supposed
        measured = self.fitted.at(k.to(self.fitted.modes.device)).to(supposed)
        ratio = measured.diagonal().sum(-1) / supposed.diagonal().sum(-1).clamp(min=1e-300)
        return torch.where(beyond, ratio**PICTURES, 1.0) * supposed
