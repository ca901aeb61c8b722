"""Images larger than those of the training, sampled jointly by overlapping tiles of the training grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.conditioning import Condition, InitialEstimate
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.passes import ALL, Passes
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

OVERLAP = 4  # neighbouring tiles overlap by at least one in so many parts of their side
AT_ONCE = 256  # tiles in the network at once


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """First cells of the fewest tiles that cover a length, evenly spaced."""
    count = 1 if length <= side else math.ceil((length - side) / (side - overlap)) + 1
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _partition(starts: list[int], length: int, side: int, overlap: int) -> Tensor:
    """Weights of the cells of each tile, (n, side) float64: `sin^2` ramps at inner edges, normalised to sum to one."""
    cells = torch.arange(side, dtype=torch.float64) + 0.5
    up = (cells / max(overlap, 1)).clamp(max=1).mul(math.pi / 2).sin().square()
    flat = torch.ones(side, dtype=torch.float64)
    weights = torch.stack([(up if s > 0 else flat) * (up.flip(0) if s + side < length else flat) for s in starts])
    total = torch.zeros(length, dtype=torch.float64)
    for s, w in zip(starts, weights, strict=True):
        total[s : s + side] += w
    return torch.stack([w / total[s : s + side] for s, w in zip(starts, weights, strict=True)])


@dataclass(frozen=True, eq=False)
class Tiles:
    """Overlapping tiles of a grid, row by row, with smooth weights that sum to one in every cell.

    >>> tiles = Tiles.of(Grid(32, 80), 32)
    >>> len(tiles), str(tiles.grid), tiles.corners
    (3, '32x32', [(0, 0), (0, 24), (0, 48)])
    >>> x = torch.rand(1, 3, 32, 80)
    >>> torch.allclose(tiles.blend(tiles.cut(x)), x)
    True
    """

    whole: Grid
    grid: Grid  # of a tile
    corners: list[tuple[int, int]]  # (top, left)
    weights: Tensor  # (T, h, w) float64

    @classmethod
    def of(cls, whole: Grid, side: int) -> "Tiles":
        """Tiles of at most `side` cells in each direction, which overlap by a quarter of their side or more."""
        axes = []
        for length in whole.shape:
            own = min(side, length)
            starts = _starts(length, own, own // OVERLAP)
            axes.append((own, starts, _partition(starts, length, own, own // OVERLAP)))
        (h, tops, rows), (w, lefts, columns) = axes
        weights = (rows[:, None, :, None] * columns[None, :, None, :]).flatten(0, 1)
        return cls(whole, Grid(h, w, whole.channels), [(t, l) for t in tops for l in lefts], weights)

    def __len__(self) -> int:
        return len(self.corners)

    def cut(self, x: Tensor, part: slice = slice(None)) -> Tensor:
        """The tiles of `x` (..., H, W), or a slice of them: (T, ..., h, w)."""
        h, w = self.grid.shape
        return torch.stack([x[..., t : t + h, l : l + w] for t, l in self.corners[part]])

    def blend(self, tiles: Tensor) -> Tensor:
        """The weighted sum of tiles (T, ..., h, w) on the whole grid: (..., H, W)."""
        out = tiles.new_zeros(*tiles.shape[1:-2], *self.whole.shape)
        self.add(out, tiles, slice(None))
        return out

    def blend_noise(self, tiles: Tensor) -> Tensor:
        """The same with the square roots of the weights: independent noise keeps its variance in every cell."""
        out = tiles.new_zeros(*tiles.shape[1:-2], *self.whole.shape)
        self._add(out, tiles, slice(None), self.weights.sqrt())
        return out

    def add(self, out: Tensor, tiles: Tensor, part: slice) -> None:
        """Add `tiles`, which are those of the slice `part`, times their weights to `out` (..., H, W), in place."""
        self._add(out, tiles, part, self.weights)

    def _add(self, out: Tensor, tiles: Tensor, part: slice, weights: Tensor) -> None:
        h, w = self.grid.shape
        for (t, l), tile, weight in zip(self.corners[part], tiles, weights[part].to(out), strict=True):
            out[..., t : t + h, l : l + w] += weight * tile


def jointly(
    tiles: Tiles,
    denoise: Callable[[Tensor, float, slice], Tensor],  # tiles (T, K, C, h, w), level, their slice -> (T, K, C, h, w)
    group: int,
) -> Callable[[Tensor, float], Tensor]:
    """A denoiser of whole images (K, C, H, W): the weighted mean of a denoiser of tiles, `group` of them at a time.

    Tiles are blended at every noise level, not only at the end (after Bar-Tal et al. 2023, MultiDiffusion), so that overlaps
    are sampled jointly, with the full variance, and are not averages of two samples.
    """

    def whole(z: Tensor, sigma: float) -> Tensor:
        out = torch.zeros_like(z)
        for first in range(0, len(tiles), group):
            part = slice(first, first + group)
            tiles.add(out, denoise(tiles.cut(z, part), sigma, part), part)
        return out

    return whole


class TiledModel:
    """A `ConditionalModel` for one masked image, by tiles, with the same `mean` and `sample`.

    Each tile is treated as an image of the training. The initial estimates of all tiles are blended first, so that the
    residual is the same in all tiles. Raises ValueError where the measurement is no mask, or where a tile has no observed
    pixel.
    """

    def __init__(self, model: ConditionalModel, measurement: Measurement) -> None:
        assert len(measurement) == 1
        self.model, self.tiles = model, Tiles.of(measurement.grid, model.constants.reference)
        observed = measurement.observed
        if observed is None:
            raise ValueError("tiles are for masks; other operators act on the whole image")
        parts = Measurement(
            Mask(self.tiles.cut(observed[0]), measurement.grid.channels),
            self.tiles.cut(measurement.y[0]),
            noise=measurement.noise,
        )
        if blind := blind_tile(measurement, self.tiles):
            raise ValueError(
                f"the tile of {self.tiles.grid} cells at row {blind[0]}, column {blind[1]} has no observed pixel"
            )
        groups = [slice(i, i + AT_ONCE) for i in range(0, len(self.tiles), AT_ONCE)]
        alone = [model.condition(parts[group]).estimate for group in groups]
        self.estimate = self.tiles.blend(torch.cat([e.mean for e in alone]))  # (C, H, W)
        self.std = self.tiles.blend(torch.cat([e.std for e in alone]))  # (1, H, W)
        joint = InitialEstimate(
            self.tiles.cut(self.estimate),
            self.tiles.cut(self.std),
            torch.cat([e.loo_error for e in alone]),
            torch.cat([e.data_channel for e in alone]),
            alone[0].has_weights,
        )
        finer = float(model.density_ratio(parts).log().mean().exp())  # one for all, as tiles are blended
        self.condition = Condition.of(joint, parts, model.working(self.tiles.grid), model.residual(finer))

    def _denoiser(self, count: int, passes: Passes) -> Callable[[Tensor, float], Tensor]:
        def denoise(z: Tensor, sigma: float, part: slice) -> Tensor:
            copies = z.transpose(0, 1).flatten(0, 1)  # in the order of `Condition.repeat`
            level = torch.full((len(copies),), sigma, dtype=torch.float32, device=z.device)
            clean = self.model.denoise(copies, level, self.condition[part].repeat(count))
            passes.called(len(copies))
            return clean.unflatten(0, (count, -1)).transpose(0, 1)

        return jointly(self.tiles, denoise, max(1, passes.most(self.std.device, self.tiles.grid.pixels) // count))

    @torch.no_grad()
    def mean(self, passes: Passes = ALL) -> Tensor:
        """Posterior mean (1, C, H, W)."""
        z = self._denoiser(1, passes)(torch.zeros_like(self.estimate)[None], math.inf)
        return self.estimate + self.std * z

    @torch.no_grad()
    def sample(self, keys: Keys, count: int, settings: Sample, passes: Passes = ALL) -> Tensor:
        """Posterior samples (K, 1, C, H, W); the noise is keyed by tile, and drawn on its grid as in training."""
        forked, field = keys.fork(passes.first + count)[passes.first * len(keys) :], self.model.diffusion.field

        def noise(label: str) -> Tensor:
            draws = []
            for first in range(0, len(self.tiles), AT_ONCE):
                tiles = range(first, min(first + AT_ONCE, len(self.tiles)))
                own = Keys.join([forked.child(f"tile{i}/{label}") for i in tiles])
                draws.append(field.sample(own, self.tiles.grid).unflatten(0, (-1, count)))
            return self.tiles.blend_noise(torch.cat(draws))

        levels = settings.levels(self.model.schedule)
        z = settings.method(self._denoiser(count, passes), noise, levels)
        return (self.estimate + self.std * z)[:, None]


def blind_tile(measurement: Measurement, tiles: Tiles) -> tuple[int, int] | None:
    """Row and column of the first tile without an observed pixel; None where all have one."""
    assert measurement.observed is not None
    observed = tiles.cut(measurement.observed).flatten(1).any(1).tolist()
    return next((corner for corner, some in zip(tiles.corners, observed, strict=True) if not some), None)


__all__ = ["TiledModel", "Tiles", "blind_tile", "jointly"]
