"""Pictures larger than what a model was trained on, drawn as one by overlapping tiles of the trained grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.degradation import Measurement
from invkit.diffusion import Sample
from invkit.diffusion.condition import Condition
from invkit.diffusion.model import ConditionalModel
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import Mask

OVERLAP = 4  # a tile shares at least one part in so many of its side with its neighbour
AT_ONCE = 256  # tiles in the network


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Evenly spread first cells of the fewest tiles that cover a length."""
    count = 1 if length <= side else math.ceil((length - side) / (side - overlap)) + 1
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _partition(starts: list[int], length: int, side: int, overlap: int) -> Tensor:
    """A weight for every cell of every tile, (n, side) float64: `sin^2` ramps at inner edges, scaled to add up to one."""
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
    """Overlapping tiles of a grid, in reading order, and smooth weights that add up to one in every cell.

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
        """Tiles of at most `side` cells each way, which share a quarter of their side or more."""
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
        """The tiles of `x` (..., H, W), or some of them: (T, ..., h, w)."""
        h, w = self.grid.shape
        return torch.stack([x[..., t : t + h, l : l + w] for t, l in self.corners[part]])

    def blend(self, tiles: Tensor) -> Tensor:
        """The weighted sum of tiles (T, ..., h, w) on the whole: (..., H, W)."""
        out = tiles.new_zeros(*tiles.shape[1:-2], *self.whole.shape)
        self.add(out, tiles, slice(None))
        return out

    def blend_noise(self, tiles: Tensor) -> Tensor:
        """The same with the roots of the weights: independent noise keeps its variance in every cell."""
        out = tiles.new_zeros(*tiles.shape[1:-2], *self.whole.shape)
        self._add(out, tiles, slice(None), self.weights.sqrt())
        return out

    def add(self, out: Tensor, tiles: Tensor, part: slice) -> None:
        """Add the weighted tiles of a part to `out` (..., H, W), in place."""
        self._add(out, tiles, part, self.weights)

    def _add(self, out: Tensor, tiles: Tensor, part: slice, weights: Tensor) -> None:
        h, w = self.grid.shape
        for (t, l), tile, weight in zip(self.corners[part], tiles, weights[part].to(out), strict=True):
            out[..., t : t + h, l : l + w] += weight * tile


def jointly(
    tiles: Tiles,
    denoise: Callable[[Tensor, float, slice], Tensor],  # tiles (T, K, C, h, w), level, which of all -> (T, K, C, h, w)
    group: int,
) -> Callable[[Tensor, float], Tensor]:
    """A denoiser of the whole (K, C, H, W) from one of tiles, `group` of them at a time: its weighted mean.

    Tiles meet at every noise level, not only at the end (after Bar-Tal et al. 2023, MultiDiffusion), so that what is drawn
    in an overlap is one thing, at the full variance, and not the mean of two.
    """

    def whole(z: Tensor, sigma: float) -> Tensor:
        out = torch.zeros_like(z)
        for first in range(0, len(tiles), group):
            part = slice(first, first + group)
            tiles.add(out, denoise(tiles.cut(z, part), sigma, part), part)
        return out

    return whole


class TiledModel:
    """What `ConditionalModel` does, of one masked picture by tiles: `mean` and `sample` as there.

    A tile is taken for a whole picture, as those that the model was trained on; fill and deviation are blended over the
    whole first, so that all tiles count one residual. Raises ValueError where the measurement is no mask, or where a tile
    sees nothing.
    """

    def __init__(self, model: ConditionalModel, measurement: Measurement) -> None:
        assert len(measurement) == 1
        self.model, self.tiles = model, Tiles.of(measurement.grid, model.constants.reference)
        observed = measurement.observed
        if observed is None:
            raise ValueError("tiles are for masks; other measurements are made of the whole picture")
        parts = Measurement(
            Mask(self.tiles.cut(observed[0]), measurement.grid.channels),
            self.tiles.cut(measurement.y[0]),
            measurement.sigma,
        )
        if blind := blind_tile(measurement, self.tiles):
            raise ValueError(f"the tile of {self.tiles.grid} cells at row {blind[0]}, column {blind[1]} sees nothing")
        groups = [slice(i, i + AT_ONCE) for i in range(0, len(self.tiles), AT_ONCE)]
        alone = [model.condition(parts[group]) for group in groups]
        self.fill = self.tiles.blend(torch.cat([c.fill for c in alone]))
        self.deviation = self.tiles.blend(torch.cat([c.deviation for c in alone]))
        fill, deviation, back = (
            self.tiles.cut(self.fill),
            self.tiles.cut(self.deviation),
            torch.cat([c.back for c in alone]),
        )
        finer = float(model.fineness(parts).log().mean().exp())  # one law for all, which meet at every level
        working = model.working(self.tiles.grid)
        self.condition = Condition.of(fill, deviation, back, alone[0].weights, parts, working, fineness=finer)

    def _denoiser(self, count: int) -> Callable[[Tensor, float], Tensor]:
        def denoise(z: Tensor, sigma: float, part: slice) -> Tensor:
            copies = z.transpose(0, 1).flatten(0, 1)  # as `Condition.repeat` orders them
            level = torch.full((len(copies),), sigma, device=z.device)
            clean = self.model.denoise(copies, level, self.condition[part].repeat(count))
            return clean.unflatten(0, (count, -1)).transpose(0, 1)

        return jointly(self.tiles, denoise, max(1, AT_ONCE // count))

    @torch.no_grad()
    def mean(self) -> Tensor:
        """Posterior mean (1, C, H, W)."""
        z = self._denoiser(1)(torch.zeros_like(self.fill)[None], math.inf)
        return self.fill + self.deviation * z

    @torch.no_grad()
    def sample(self, keys: Keys, count: int, settings: Sample) -> Tensor:
        """Posterior samples (K, 1, C, H, W); the noise is keyed by tile, and drawn on its grid as in training."""
        forked, field = keys.fork(count), self.model.diffusion.field

        def noise(label: str) -> Tensor:
            draws = [field.sample(forked.child(f"tile{i}/{label}"), self.tiles.grid) for i in range(len(self.tiles))]
            return self.tiles.blend_noise(torch.stack(draws))

        levels = self.model.diffusion.schedule.levels(settings.steps)
        z = settings.method(self._denoiser(count), noise, levels)
        return (self.fill + self.deviation * z)[:, None]


def blind_tile(measurement: Measurement, tiles: Tiles) -> tuple[int, int] | None:
    """Row and column of the first tile in which a mask shows nothing; None where all see something."""
    assert measurement.observed is not None
    seen = tiles.cut(measurement.observed).flatten(1).any(1).tolist()
    return next((corner for corner, some in zip(tiles.corners, seen, strict=True) if not some), None)


__all__ = ["TiledModel", "Tiles", "blind_tile", "jointly"]
