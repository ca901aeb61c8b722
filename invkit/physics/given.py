"""Given values y: the grid that they imply, the operator that measured them, and their unit."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Operator
from invkit.physics.operators.mask import Mask

FURTHEST = 64  # sizes around a guess that are tried: at least as many as there are cells to a measured one


def implied_grid(degradation: Degradation, shape: tuple[int, ...], start: Grid) -> Grid | None:
    """The grid on which values of `shape`, a `range_shape`, are measured; None if none is found.

    `start` if it fits. Otherwise, for values that follow the grid along each axis, the size in the middle of those that fit, axis
    by axis (measured at half the resolution, 10 values are those of 19 to 21 cells, hence of 20); for other values, such as
    sinograms, a grid of the aspect ratio of `start`.
    """

    def measured(height: int, width: int) -> tuple[int, ...]:
        try:
            return degradation.sample(Keys.of(0, "shape", [0]), Grid(height, width, start.channels)).range_shape
        except ValueError:  # settings that do not fit the grid
            return ()

    own = measured(*start.shape)
    if own == shape:
        return start
    if len(own) != len(shape):
        return None
    twice = measured(2 * start.height, 2 * start.width)
    if len(shape) == 3 == len(twice) and min(twice[1] - own[1], twice[2] - own[2]) > 0:
        size = _by_axis(measured, shape, own, start)
        return None if size is None else Grid(*size, start.channels)
    for ratio in (shape[-1] / own[-1], (torch.Size(shape).numel() / torch.Size(own).numel()) ** 0.5):
        guess = max(1, round(min(start.shape) * ratio))
        if cells := _middle(lambda n: measured(*start.scaled(n).shape) == shape, guess, 3):
            return start.scaled(cells)
    return None


def _by_axis(
    measured: Callable[[int, int], tuple[int, ...]], shape: tuple[int, ...], own: tuple[int, ...], start: Grid
) -> tuple[int, int] | None:
    size = [max(1, round(n * m / o)) for n, m, o in zip(start.shape, shape[1:], own[1:], strict=True)]
    for axis in (0, 1):

        def fits(n: int, axis: int = axis) -> bool:
            tried = [n if i == axis else size[i] for i in (0, 1)]
            return measured(tried[0], tried[1])[1 + axis : 2 + axis] == shape[1 + axis : 2 + axis]

        if not (found := _middle(fits, size[axis], FURTHEST)):
            return None
        size[axis] = found
    return (size[0], size[1]) if measured(size[0], size[1]) == shape else None


def _middle(fits: Callable[[int], bool], guess: int, furthest: int) -> int | None:
    """The middle of the sizes around the one nearest to the guess that fit."""

    def nearest() -> Iterator[int]:
        for away in range(furthest + 1):
            yield from (n for n in dict.fromkeys((guess - away, guess + away)) if n > 0)

    if (first := next(filter(fits, nearest()), None)) is None:
        return None
    low = high = first
    while high - first < furthest and fits(high + 1):
        high += 1
    while low > 1 and first - low < furthest and fits(low - 1):
        low -= 1
    return (low + high) // 2


def fixed_operator(degradation: Degradation, grid: Grid, count: int) -> Operator:
    """The operator of a degradation for `count` images. Raises ValueError if it is drawn at random for each image."""
    pair = degradation.sample(Keys.of(0, "operator", [0, 1]), grid)
    x = Keys.of(0, "probe", [0]).normal("x", *grid.picture).expand(2, *grid.picture)
    first, second = pair.forward(x)
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-4 * float(first.abs().max())):
        advice = (
            "for a mask give the mask itself (--mask FILE)" if isinstance(pair, Mask)
            else "in Python, give it: invkit.api.Measurement(operator, y)"
        )  # fmt: skip
        raise ValueError(
            f"the operator is drawn at random for each image, so the one that measured these values is unknown; {advice}"
        )
    return pair[:1].repeat(count)


def averages(operator: Operator) -> bool:
    """Whether y is an image: (C, H, W), each value a weighted mean of the pixels, so that it is in their unit."""
    ones = operator.forward(torch.ones(len(operator), *operator.grid.picture, dtype=torch.float32))
    return ones.ndim == 4 and torch.allclose(ones, operator.measured(torch.ones_like(ones)), atol=1e-3)


def in_pixel_units(
    operator: Operator,
    y: Tensor,  # (B, *range_shape): A applied to images of which `low` and `high` mean -1 and 1
    low: float,
    high: float,
) -> Tensor:
    """A applied to images in [-1, 1]: with `v = s x + m`, `s = (high - low) / 2` and the middle m, `A x = (A v - m A 1) / s`."""
    if not isinstance(operator, LinearOperator):
        if (low, high) != (-1, 1):
            raise ValueError(f"{type(operator).__name__} is not linear: give y as measured from images in [-1, 1]")
        return operator.measured(y)
    ones = operator.forward(torch.ones(len(operator), *operator.grid.picture, dtype=y.dtype))
    return operator.measured((y - (low + high) / 2 * ones) / ((high - low) / 2))
