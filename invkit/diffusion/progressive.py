"""Progressive sampling: the first, noisiest steps on coarse grids, refined when finer modes carry signal."""

from collections.abc import Callable, Sequence

from torch import Tensor

from invkit.core.grid import Grid
from invkit.diffusion.samplers import Denoise, Noise, Sampler
from invkit.physics.gaussian import GaussianField, resample

MARGIN = 3.0  # ratio of the standard deviations of noise and signal above which a mode is left out


def coarse_to_fine(grid: Grid, cells: Sequence[int]) -> list[Grid]:
    """The coarser grids that have so many cells along the shorter side, and the grid itself."""
    shapes = [[max(1, round(e * n)) for e in grid.extent] for n in cells]
    return [*(g for g in (Grid(h, w, grid.channels) for h, w in shapes) if g.pixels < grid.pixels), grid]


def handover(coarse: Grid, fine: Grid, data: GaussianField, noise: GaussianField) -> float:
    """The noise level down to which signal is at most 1 / MARGIN^2 of the noise power in the modes that `fine` adds to `coarse`."""
    d, l = (field.spectrum(fine).diagonal().mean(-1) for field in (data, noise))
    ratio = (d / l).clone()
    ratio[: coarse.height, : coarse.width] = 0
    return MARGIN * float(ratio.max()) ** 0.5


def sample_progressively(
    method: Sampler,
    grids: Sequence[Grid],  # rising
    denoise: Callable[[Grid], Denoise],
    noise: Callable[[Grid], Noise],
    levels: Tensor,  # (steps + 1,) falling to zero
    limits: Sequence[float],  # noise level at which each grid but the last is refined
) -> Tensor:
    """A sample on the last grid. Refinement keeps the present modes and adds noise, at the current level, in the new ones."""
    first = 0
    x: Tensor | None = None
    was = grids[0]
    for i, grid in enumerate(grids):
        own = noise(grid)
        if x is None:
            x = float(levels[0]) * own("start")
        elif grid != was:
            fresh = own(f"refine{i}")
            x = resample(x, grid.shape) + float(levels[first]) * (
                fresh - resample(resample(fresh, was.shape), grid.shape)
            )
        was = grid
        last = len(levels) - 1
        if i < len(grids) - 1:
            last = max(first, int((levels >= limits[i]).sum()) - 1)
        if last > first:
            x = method.walk(denoise(grid), own, levels[first : last + 1], x)
        first = last
    assert x is not None
    return x
