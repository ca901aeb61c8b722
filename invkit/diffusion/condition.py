"""What a network is told of a measurement, and the picture and deviation from which the residual is counted."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.degradation import Measurement
from invkit.field import Achromatic, GaussianField, resample
from invkit.gaussian import GaussianPosterior
from invkit.grid import Grid
from invkit.neighbourhoods import Local, krige
from invkit.nn.base import Fill
from invkit.operators import Mask


@dataclass(frozen=True, eq=False)
class Condition:
    """Everything that is computed once per measurement; the residual z is `(x - fill) / deviation`."""

    fill: Tensor  # (B, C, H, W): the picture the residual is counted from
    deviation: Tensor  # (B, 1, H, W): the residual's unit
    back: Tensor  # (B, C, H, W): see `Filled`
    weights: bool  # whether that is kriging's weights, which add up over cells
    hidden: Tensor | None  # (B, 1 or C, H, W) float: 0 where a pixel is known exactly, None where none is
    inputs: Tensor  # (B, 2 C + 2, h, w) on the network's grid: fill, back, share of channels seen, deviation
    fineness: float = (
        1.0  # how many times closer what is seen is than amid the training; the residual's law is as much finer
    )

    @classmethod
    def of(
        cls,
        fill: Tensor,
        deviation: Tensor,
        back: Tensor,
        weights: bool,
        measurement: Measurement,
        shape: tuple[int, int],  # (h, w)
        fineness: float = 1.0,
    ) -> "Condition":
        seen = torch.ones_like(fill[:, :1])
        if measurement.observed is not None:
            seen = measurement.observed.to(fill).mean(1, keepdim=True)
        inputs = _inputs(fill, deviation, back, weights, seen, shape)
        return cls(fill, deviation, back, weights, unknown(measurement), inputs, fineness)

    @property
    def grid(self) -> Grid:
        channels, height, width = self.fill.shape[1:]
        return Grid(height, width, channels)

    def __len__(self) -> int:
        return len(self.fill)

    def __getitem__(self, index: slice) -> "Condition":
        return self._each(lambda t: t[index])

    def repeat(self, count: int) -> "Condition":
        return self._each(lambda t: t.repeat(count, 1, 1, 1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {name: change(t) for name, t in parts.items() if isinstance(t, Tensor)}
        return replace(self, **changed)  # type: ignore[arg-type]


def unknown(measurement: Measurement) -> Tensor | None:
    """`Condition.hidden` of a measurement."""
    return None if measurement.exact is None else (~measurement.exact).to(measurement.y)


def _binned(back: Tensor, weights: bool, seen: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Sensors on another grid: a cell shows the mean of what was seen in it, or, but for a factor, the sum of its weights.

    It counts as seen to at most one pixel.
    """
    weight = F.adaptive_avg_pool2d(seen, shape)
    values = F.adaptive_avg_pool2d(back * seen, shape)
    if not weights:
        values = values / weight.clamp(min=1e-6)
    cells = max(1.0, seen[0, 0].numel() / (shape[0] * shape[1]))
    return values, (weight * cells).clamp(max=1)


def _inputs(
    fill: Tensor, deviation: Tensor, back: Tensor, weights: bool, seen: Tensor, shape: tuple[int, int]
) -> Tensor:
    if tuple(fill.shape[-2:]) != tuple(shape):
        fill, deviation = resample(fill, shape), F.adaptive_avg_pool2d(deviation, shape)
        back, seen = _binned(back, weights, seen, shape)
    if weights:  # over their root mean square where something was seen
        size = back.square().sum((1, 2, 3)) / (back.shape[1] * (seen > 0).sum((1, 2, 3))).clamp(min=1)
        back = back / size.sqrt().clamp(min=torch.finfo(back.dtype).tiny).view(-1, 1, 1, 1)
    return torch.cat([fill, back, seen, deviation], 1)


@dataclass(frozen=True, eq=False)
class Filled:
    """What a model starts from."""

    picture: Tensor  # (B, C, H, W)
    deviation: Tensor  # (B, 1, H, W): how far from it the truth is expected
    misfit: Tensor  # (B,): see `GaussianPosterior.misfit`
    back: Tensor  # (B, C, H, W): what was measured, brought back to the pixels; of a kriged mask the weights `K^-1 r`
    weights: bool = False  # whether it is these


def fill_in(
    fill: Fill,
    prior: GaussianField,
    measurement: Measurement,
) -> Filled:
    """The picture a model starts from, and what else is known then.

    `gaussian`: the posterior mean; for a mask that of every channel by itself, under the channels' mean field, with its
    pointwise deviation, the misfit and the weights `K^-1 r` (one small solve gives all; for many values, one in each
    neighbourhood). `mean` and `zero`: the mean colour, or zero, where nothing is known. Elsewhere deviation and misfit are
    one, and the measurement is brought back by the pseudo-inverse.

    The weights tell a network what the values seen, which the fill shows already, do not: how another law would fill in.
    With D the difference of the covariances its mean is, to first order, another by `(1 - C A^T K^-1 A) D A^T K^-1 r`: a
    convolution of the weights, less its own kriging.
    """
    operator, y, grid = measurement.operator, measurement.y, measurement.grid
    one = torch.ones(len(y), 1, *grid.shape, dtype=y.dtype, device=y.device)

    def plain(picture: Tensor) -> Filled:
        return Filled(picture, one, one[:, 0, 0, 0], operator.pinv(y))

    centre = prior.centre(grid, y).expand(len(y), *grid.picture)
    if fill == "gaussian":
        if not isinstance(operator, Mask) or operator.observed.shape[1] > 1:
            return plain(GaussianPosterior(prior, measurement).mean())
        grey = Measurement(Mask(operator.observed, 1), y[:, :1], measurement.sigma)
        missing = (y - operator.forward(centre)).transpose(0, 1).unsqueeze(2)  # (C, B, 1, H, W)
        found = _channel_by_channel(Achromatic(prior, grid.channels), grey, missing)
        deviation = (found.variance + 1e-4 * found.variance.mean((2, 3), keepdim=True)).sqrt()
        mean, weights = (x.squeeze(2).transpose(0, 1) for x in (found.mean, found.weights))
        return Filled(centre + mean, deviation, found.misfit, weights, weights=True)
    if fill == "zero":
        return plain(operator.pinv(y))
    return plain(centre + operator.pinv(y - operator.forward(centre)))


def _channel_by_channel(field: GaussianField, grey: Measurement, missing: Tensor) -> Local:
    posterior = GaussianPosterior(field, grey)
    if not posterior.dense:
        return krige(field, grey, missing)
    weights = posterior.weights(missing)
    return Local(posterior.gain(missing), posterior.variance(), weights, posterior.misfit(weights))
