"""Checks of meaning and cost: the same law on every grid, settings that matter, a price that can be paid."""

import itertools
import math
import time

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invkit.core.grid import Grid
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from invkit.testing.algebra import relative
from invkit.testing.examples import variations
from invkit.testing.report import Check, Worst
from invkit.testing.trials import Trials, act, draw, normal

COST = 200.0  # Fourier transforms of the same pictures, there and back
LOOSEST_LAW = 0.25
MODES = 8  # cosine modes of the smooth pictures along each axis: no detail is finer than six cells of the coarse grid
_PAIRS = 16  # pairs of settings tried for each field


def check_resolution(trials: Trials) -> Check:
    """Where a law is declared: `A* A` of a smooth picture agrees between a grid and one twice as fine.

    `A* A` maps pictures to pictures in the L2 product of the domain, whatever the range is, so its value on the fine
    grid, averaged over 2x2 cells, is compared with its value on the coarse one.
    """
    worst = Worst()
    lawful = [(subject, law) for subject in trials.subjects if (law := subject.resolution_law) is not None]
    for (subject, law), size in itertools.product(lawful, ((48, 48), (48, 66))):
        if law > LOOSEST_LAW:
            worst.fault(f"resolution_law {law:g} is looser than {LOOSEST_LAW:g}")
            continue
        coarse, fine = (Grid(size[0] * k, size[1] * k, trials.channels[0]) for k in (1, 2))
        normals = []
        for grid in (coarse, fine):
            operator = draw(subject, range(4), grid, trials.seed)
            normals.append(act(operator.adjoint, act(operator.forward, smooth(grid, 4, trials.seed).to(trials.dtype))))
        averaged = avg_pool2d(normals[1], 2)
        worst.see(relative(averaged - normals[0], averaged), law, f"{coarse} and {fine}, {subject!r}")
    return worst.check("resolution", "skipped: no resolution_law is declared")


def smooth(grid: Grid, batch: int, seed: int) -> Tensor:
    """Cell averages (B, C, H, W), float64, of random pictures of low cosine modes."""
    waves = []
    for cells in grid.shape:
        k = torch.arange(MODES, dtype=torch.float64)[:, None]
        place = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        waves.append(torch.cos(math.pi * k * place) * torch.sinc(k / (2 * cells)))
    amplitude = normal((batch, grid.channels, MODES, MODES), torch.float64, seed)
    return torch.einsum("bckl,kh,lw->bchw", amplitude, *waves)


def check_settings(trials: Trials) -> Check:
    """Every setting changes something: for each field, two values give operators that act differently."""
    fields = type(trials.starts[0]).model_fields
    worst = Worst(seen=1, detail=f"{len(fields)} settings" if fields else "there are no settings")
    for name in fields:
        pairs = list(itertools.islice(variations(trials.starts, name), _PAIRS))
        if not pairs:
            worst.fault(f"{name}: no other valid value was found to try; give the field Field(examples=[...])")
        elif not any(_differ(start, other, trials) for start, other in pairs):
            worst.fault(f"{name}: changes nothing; {len(pairs)} other values were tried")
    return worst.check("settings")


def _differ(start: Degradation, other: Degradation, trials: Trials) -> bool:
    for size, channels in itertools.product(((16, 16), (13, 24), (40, 40)), trials.channels):
        try:
            a, b = (draw(d, range(6), Grid(*size, channels), trials.seed) for d in (start, other))
        except ValueError:  # a grid that the settings do not fit says nothing
            continue
        if a.range_shape != b.range_shape or a.range_weight != b.range_weight:
            return True
        x, y = (normal((6, *shape), trials.dtype, 1) for shape in ((channels, *size), a.range_shape))
        if not torch.equal(act(a.forward, x), act(b.forward, x)) or not torch.equal(act(a.pinv, y), act(b.pinv, y)):
            return True
    return False


def check_cost(trials: Trials) -> Check:
    """`forward` and `adjoint` together take at most the time of `COST` Fourier transforms of the same pictures."""
    worst = Worst()
    for subject in trials.starts:
        grid = Grid(64, 64, trials.channels[0])
        x = normal((4, *grid.picture), trials.dtype, trials.seed)
        operator = draw(subject, range(4), grid, trials.seed)
        worst.see(_cost(operator, x), COST, f"Fourier transforms, 4 pictures of {grid}x{grid.channels}, {subject!r}")
    return worst.check("cost")


def _cost(operator: LinearOperator, x: Tensor) -> float:
    """Best time of several over the best of the reference: what else runs on the machine only ever adds."""
    own = reference = math.inf
    for _ in range(3):
        begin = time.perf_counter()
        operator.adjoint(operator.forward(x.clone()))
        middle = time.perf_counter()
        for _ in range(20):
            torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:])
        end = time.perf_counter()
        own, reference = min(own, middle - begin), min(reference, (end - middle) / 20)
        if own < COST * reference / 4:
            break
    return own / reference
