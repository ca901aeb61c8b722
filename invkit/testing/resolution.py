"""Checks of consistency between resolutions, of the effect of each setting, and of the cost."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invkit.core.grid import Grid
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.testing.algebra import relative
from invkit.testing.examples import variations
from invkit.testing.report import Check, Worst
from invkit.testing.trials import Trials, act, draw, maps, normal
from invkit.testing.work import operations

COST = 200.0  # times a Fourier transform and its inverse, of the same images
LOOSEST = 0.25  # largest `resolution_law` accepted
MODES = (
    8  # cosine modes of the smooth images along each axis: the shortest half-wave is over six cells of the coarse grid
)
_PAIRS = 16  # pairs of settings tried for each field


def check_resolution(trials: Trials) -> Check:
    """`A* A` of a smooth image agrees, within `resolution_law`, between a grid and one twice as fine.

    `A* A` maps images to images, so that its value on the fine grid, averaged over 2x2 cells, can be compared with that
    on the coarse grid for any range of `A`. Degradations without a `resolution_law` are skipped.
    """
    worst = Worst()
    subjects = trials.subjects if trials.linear else []
    declared = [(subject, limit) for subject in subjects if (limit := subject.resolution_law) is not None]
    for (subject, limit), size in itertools.product(declared, ((48, 48), (48, 66))):
        if limit > LOOSEST:
            worst.fault(f"resolution_law {limit:g} is looser than {LOOSEST:g}")
            continue
        coarse, fine = (Grid(size[0] * k, size[1] * k, trials.channels[0]) for k in (1, 2))
        normals = []
        for grid in (coarse, fine):
            operator = draw(subject, range(4), grid, trials.seed)
            assert isinstance(operator, LinearOperator)
            normals.append(act(operator.adjoint, act(operator.forward, smooth(grid, 4, trials.seed).to(trials.dtype))))
        averaged = avg_pool2d(normals[1], 2)
        worst.record(relative(averaged - normals[0], averaged), limit, f"{coarse} and {fine}, {subject!r}")
    return worst.check("resolution", "no resolution_law is declared")


def smooth(grid: Grid, batch: int, seed: int) -> Tensor:
    """Cell averages (B, C, H, W), float64, of random images of the lowest `MODES` cosine modes along each axis."""
    waves = []
    for cells in grid.shape:
        k = torch.arange(MODES, dtype=torch.float64)[:, None]
        place = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        waves.append(torch.cos(math.pi * k * place) * torch.sinc(k / (2 * cells)))
    amplitude = normal((batch, grid.channels, MODES, MODES), torch.float64, seed)
    return torch.einsum("bckl,kh,lw->bchw", amplitude, *waves)


def check_settings(trials: Trials) -> Check:
    """Every setting has an effect: for each field, two values give operators that act differently."""
    fields = type(trials.starts[0]).model_fields
    worst = Worst(count=1, detail=f"{len(fields)} settings" if fields else "there are no settings")
    for name in fields:
        pairs = list(itertools.islice(variations(trials.starts, name), _PAIRS))
        if not pairs:
            worst.fault(f"{name}: no other valid value found; add Field(examples=[...]) to the field")
        elif not any(_differ(start, other, trials) for start, other in pairs):
            worst.fault(f"{name}: has no effect; {len(pairs)} other values were tried")
    return worst.check("settings")


def _differ(start: Degradation, other: Degradation, trials: Trials) -> bool:
    for size, channels in itertools.product(((16, 16), (13, 24), (40, 40)), trials.channels):
        try:
            a, b = (draw(d, range(6), Grid(*size, channels), trials.seed) for d in (start, other))
        except ValueError:  # the settings do not fit this grid
            continue
        if a.range_shape != b.range_shape or a.range_weight != b.range_weight:
            return True
        x, y = (normal((6, *shape), trials.dtype, 1) for shape in ((channels, *size), a.range_shape))
        if not torch.equal(act(a.forward, x), act(b.forward, x)) or not torch.equal(act(_back(a), y), act(_back(b), y)):
            return True
    return False


def _back(operator: Operator) -> Callable[[Tensor], Tensor]:
    """The last of `maps`: the pseudo-inverse or the initial image."""
    return list(maps(operator).values())[-1]


def check_cost(trials: Trials) -> Check:
    """`forward` and `vjp` (or `adjoint`) together take at most `COST` times the operations of a Fourier transform and back."""
    worst = Worst()
    for subject in trials.starts:
        grid = Grid(64, 64, trials.channels[0])
        x = normal((4, *grid.picture), trials.dtype, trials.seed)
        operator = draw(subject, range(4), grid, trials.seed)
        own = operations(lambda op=operator, x=x: op.vjp(x.clone(), op.forward(x.clone())))  # type: ignore[misc]
        reference = operations(lambda x=x: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:]))  # type: ignore[misc]
        worst.record(own / reference, COST, f"Fourier transforms, 4 images of {grid}x{grid.channels}, {subject!r}")
    return worst.check("cost")
