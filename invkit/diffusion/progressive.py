"""Progressive sampling: the first, noisiest steps on coarse grids, refined as finer modes begin to carry signal."""

from collections.abc import Callable, Sequence

from torch import Tensor

from invkit.core.grid import Grid
from invkit.diffusion.samplers import Denoise, Noise, Sampler
from invkit.physics.gaussian import GaussianField, resample

MARGIN = 3.0  # noise deviations over signal deviation at which a mode may still be left out


def handover(coarse: Grid, fine: Grid, data: GaussianField, noise: GaussianField) -> float:
    """The noise level down to which the modes that `fine` has beyond `coarse` are noise but for 1 / MARGIN^2 of their power."""
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
    limits: Sequence[float],  # noise level at which each grid but the last is left
) -> Tensor:
    """A draw on the last grid. Refining keeps every mode and adds noise, at the present level, on the new ones alone."""
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
