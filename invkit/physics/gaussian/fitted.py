"""Fields fitted to images, and assumed fields corrected by them beyond the training grids."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.core.grid import Grid
from invkit.physics.gaussian.basis import Basis, dct, frequencies
from invkit.physics.gaussian.field import GaussianField
from invkit.physics.gaussian.stationary import StationaryField


@dataclass(frozen=True, eq=False)
class FittedField(GaussianField):
    """A field fitted to images: the second moments of their modes, as a colour covariance for each."""

    modes: Tensor  # (C, C, H, W) float64: spectrum on the grid of the fit
    color: Tensor  # (C,) float64: mean colour
    slope: float  # beyond the fitted band the power decays as |k|^-slope
    basis: Basis = "cosine"
    zoom: float = 1.0  # samples at x are those of the fit at `zoom x`

    @classmethod
    def fit(cls, x: Tensor, grid: Grid, color: Tensor | None = None) -> "FittedField":
        """Fit to images (N, C, H, W) on `grid`; `color` (C,) is the mean colour where it is known."""
        if color is None:
            color = x.mean((0, 2, 3), dtype=torch.float64)
        total = torch.zeros(grid.channels, grid.channels, *grid.shape, dtype=torch.float64)
        for part in x.split(256):
            a = dct(part.double() - color.view(-1, 1, 1)) * grid.cell
            total += torch.einsum("bchw,bdhw->cdhw", a, a)
        ridge = 1e-9 * grid.area * torch.eye(grid.channels, dtype=torch.float64)[:, :, None, None]
        return cls.of(total / len(x) + ridge, color, grid)

    @classmethod
    def of(cls, modes: Tensor, color: Tensor, grid: Grid) -> "FittedField":
        """The field of a spectrum (C, C, H, W) on `grid` and a mean colour (C,); the slope is that of the outer modes."""
        radius = frequencies(grid).norm(dim=0)
        outer = radius > radius.max() / 3
        log_power = torch.einsum("cchw->hw", modes)[outer].log()
        log_radius = radius[outer].log()
        spread = log_radius.var()
        slope = -torch.cov(torch.stack([log_radius, log_power]))[0, 1] / spread if spread > 0 else torch.tensor(2.0)
        return cls(modes, color, float(slope.clamp(2, 6)))

    def zoomed(self, zoom: float) -> "FittedField":
        """The field with samples `f(zoom x)`, where f is a sample of the field as fitted (zoom 1)."""
        return self if zoom == self.zoom else _zoomed(self, zoom)

    def spectrum(self, grid: Grid) -> Tensor:
        own = Grid(self.modes.shape[2], self.modes.shape[3], grid.channels)
        return self.modes if own == grid and self.zoom == 1 else self.at(frequencies(grid, self.modes.device))

    def at(
        self,
        frequencies: Tensor,  # (2, H, W) half-cycles per unit length
    ) -> Tensor:
        """The spectrum at wave numbers: (C, C, H, W)."""
        own, wanted = Grid(*self.modes.shape[2:]), frequencies / self.zoom
        ends = [(n - 1) / e for n, e in zip(own.shape, own.extent, strict=True)]
        limit = torch.tensor(ends, dtype=torch.float32, device=wanted.device)
        inside = torch.minimum(wanted, limit.view(2, 1, 1).to(wanted))
        place = (2 * inside / limit.view(2, 1, 1) - 1).flip(0).permute(1, 2, 0)[None]
        table = self.modes.flatten(0, 1)[None]
        values = F.grid_sample(table, place.to(table), align_corners=True)[0]
        beyond = (wanted.norm(dim=0) / inside.norm(dim=0).clamp(min=1e-9)).clamp(min=1)
        return values.view(*self.modes.shape[:2], *wanted.shape[1:]) * beyond**-self.slope / self.zoom**2

    def mean(self, grid: Grid) -> Tensor:
        return self.color


@lru_cache(maxsize=32)  # by identity, so that matrices cached for a field are found again
def _zoomed(field: FittedField, zoom: float) -> FittedField:
    return replace(field, zoom=zoom)


FITTED = 1 / 3  # weight of the fitted spectrum in the geometric mean


@dataclass(frozen=True)
class ExtrapolatedField(GaussianField):
    """An assumed field, corrected towards the fitted spectrum beyond the resolution of the training images.

    Modes of the training grids have the assumed power; those that finer grids add have a geometric mean of the assumed power and
    that of the fitted field. An assumption that does not fit the images matters most for modes without training data: on
    finer grids, kriging with it alone has spikes at the observed pixels that do not occur in training.
    """

    assumed: StationaryField
    fitted: FittedField
    cells: int  # along the shorter side of the finest training grid

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        return self.assumed.basis

    def margin(self, grid: Grid) -> int:
        return self.assumed.margin(grid)

    def mean(self, grid: Grid) -> Tensor:
        return self.assumed.mean(grid)

    def spectrum(self, grid: Grid) -> Tensor:
        assumed = self.assumed.spectrum(grid)
        own = Grid(*(max(1, round(self.cells * e)) for e in grid.extent))
        k, held = (frequencies(g, assumed.device, self.basis, self.margin(g)) for g in (grid, own))
        beyond = (k > held.amax((1, 2), keepdim=True) + 1e-6).any(0)
        if not beyond.any():
            return assumed
        fitted = self.fitted.at(k.to(self.fitted.modes.device)).to(assumed)
        ratio = fitted.diagonal().sum(-1) / assumed.diagonal().sum(-1).clamp(min=1e-300)
        return torch.where(beyond, ratio**FITTED, 1.0) * assumed
