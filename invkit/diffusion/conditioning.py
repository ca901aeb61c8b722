"""Conditioning inputs of the denoiser, and the initial estimate (mean and standard deviation) that defines the residual."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit.core.grid import Grid
from invkit.diffusion.networks.base import Fill
from invkit.diffusion.preconditioning import FieldOfEach
from invkit.physics.gaussian import Achromatic, GaussianField, resample
from invkit.physics.gaussian.laplace import posterior_of
from invkit.physics.gaussian.local_kriging import LocalKriging
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

# of an estimate without Cholesky: Gauss-Newton steps, and the error of a linear one in posterior standard deviations
STEPS, TOLERANCE = 3, 0.03


@dataclass(frozen=True, eq=False)
class InitialEstimate:
    """The estimate that a model starts from; the residual of an image x is `z = (x - mean) / std`."""

    mean: Tensor  # (B, C, H, W)
    std: Tensor  # (B, 1, H, W): standard deviation expected of the image about the mean
    loo_error: Tensor  # (B,): see `GaussianPosterior.loo_error`
    data_channel: Tensor  # (B, C, H, W): the measurement on the pixel grid; for a kriged mask the weights `K^-1 r`
    has_weights: bool = False  # whether the data channel holds kriging weights, which add up over cells

    def residual(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def image(self, z: Tensor) -> Tensor:
        return self.mean + self.std * z

    def __getitem__(self, index: slice | Tensor) -> "InitialEstimate":
        return self.map(lambda t: t[index])

    def map(self, change: Callable[[Tensor], Tensor]) -> "InitialEstimate":
        """Every tensor, batch first, through `change`."""
        mean, std, loo_error = change(self.mean), change(self.std), change(self.loo_error)
        return InitialEstimate(mean, std, loo_error, change(self.data_channel), self.has_weights)

    def to(self, device: torch.device | str) -> "InitialEstimate":
        return self.map(lambda t: t.to(device))


@dataclass(frozen=True, eq=False)
class Condition:
    """Everything that is computed once per measurement."""

    estimate: InitialEstimate  # its standard deviation multiplied by the residual scale
    hidden: Tensor | None  # (B, 1 or C, H, W) float: 0 where a pixel is known exactly, None where none is
    inputs: Tensor  # (B, 2 C + 2, h, w) on the network's grid: mean, data channel, observed share of channels, std
    residual: GaussianField | FieldOfEach  # whose spectrum depends on the sampling density

    @classmethod
    def of(
        cls,
        estimate: InitialEstimate,
        measurement: Measurement,
        shape: tuple[int, int],  # (h, w)
        residual: GaussianField | FieldOfEach,
    ) -> "Condition":
        observed = torch.ones_like(estimate.mean[:, :1])
        if measurement.observed is not None:
            observed = measurement.observed.to(observed).mean(1, keepdim=True)
        inputs = _inputs(estimate, observed, shape)
        return cls(estimate, unknown(measurement), inputs, residual)

    @property
    def grid(self) -> Grid:
        channels, height, width = self.estimate.mean.shape[1:]
        return Grid(height, width, channels)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: slice) -> "Condition":
        return self._map(lambda t: t[index])

    def repeat(self, count: int) -> "Condition":
        return self._map(lambda t: t.repeat(count, *[1] * (t.ndim - 1)))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        hidden = None if self.hidden is None else change(self.hidden)
        residual = self.residual
        if isinstance(residual, FieldOfEach):
            residual = replace(residual, which=change(residual.which))
        estimate, inputs = self.estimate.map(change), change(self.inputs)
        return replace(self, estimate=estimate, hidden=hidden, inputs=inputs, residual=residual)


def unknown(measurement: Measurement) -> Tensor | None:
    """`Condition.hidden` of a measurement."""
    return None if measurement.exact is None else (~measurement.exact).to(measurement.y)


def _binned(estimate: InitialEstimate, observed: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Data channel and observed share on another grid: in each cell the mean of the observed values, or the sum of the
    weights up to a constant factor. A cell counts as at most one observed pixel.
    """
    share = F.adaptive_avg_pool2d(observed, shape)
    values = F.adaptive_avg_pool2d(estimate.data_channel * observed, shape)
    if not estimate.has_weights:
        values = values / share.clamp(min=1e-6)
    cells = max(1.0, observed[0, 0].numel() / (shape[0] * shape[1]))
    return values, (share * cells).clamp(max=1)


def _inputs(estimate: InitialEstimate, observed: Tensor, shape: tuple[int, int]) -> Tensor:
    mean, std, channel = estimate.mean, estimate.std, estimate.data_channel
    if tuple(mean.shape[-2:]) != tuple(shape):
        mean, std = resample(mean, shape), F.adaptive_avg_pool2d(std, shape)
        channel, observed = _binned(estimate, observed, shape)
    if estimate.has_weights:  # divided by their root mean square over the observed pixels
        size = channel.square().sum((1, 2, 3)) / (channel.shape[1] * (observed > 0).sum((1, 2, 3))).clamp(min=1)
        channel = channel / size.sqrt().clamp(min=torch.finfo(channel.dtype).tiny).view(-1, 1, 1, 1)
    return torch.cat([mean, channel, observed, std], 1)


def initial_estimate(
    fill: Fill,
    prior: GaussianField,
    measurement: Measurement,
) -> InitialEstimate:
    """The initial estimate of a measurement, by the kind of `fill`.

    `gaussian`: the posterior mean under the prior. For a mask shared by all channels, each channel is kriged separately, with
    the mean spectrum of the channels; the same small solve (for many values, one in each neighbourhood) gives the pointwise
    standard deviation, the leave-one-out error and the weights `K^-1 r`, where `r = y - A m`. Nonlinear operators and
    other noise are approximated, see `LaplacePosterior`. Without Cholesky few steps are enough, as the network corrects the
    estimate. `mean` and `zero`: `operator.initial(y, start)` from the mean colour or
    zero, which stays where nothing is observed. In these two, and for all other operators, `std` and `loo_error` are one, and the
    data channel is `operator.initial(y)`: the pseudo-inverse of a linear operator.

    The mean already contains the observed values. The weights add how the estimate changes with the covariance. If the true
    covariance differs by D, the posterior mean changes, to first order, by `(1 - C A^T K^-1 A) D A^T K^-1 r`: a convolution
    of the weights, minus its own kriging estimate.
    """
    operator, y, grid = measurement.operator, measurement.y, measurement.grid
    one = torch.ones(len(y), 1, *grid.shape, dtype=y.dtype, device=y.device)

    def plain(mean: Tensor) -> InitialEstimate:
        return InitialEstimate(mean, one, one[:, 0, 0, 0], operator.initial(y))

    centre = prior.centre(grid, y).expand(len(y), *grid.picture)
    if fill == "gaussian":
        if not isinstance(operator, Mask) or operator.observed.shape[1] > 1 or measurement.noise.white is None:
            return plain(posterior_of(prior, measurement, STEPS, TOLERANCE).mean())
        grey = Measurement(Mask(operator.observed, 1, operator.counts), y[:, :1], measurement.sigma)
        missing = (y - operator.forward(centre)).transpose(0, 1).unsqueeze(2)  # (C, B, 1, H, W)
        mean, variance, weights, loo_error = _krige(Achromatic(prior, grid.channels), grey, missing)
        mean, weights = (x.squeeze(2).transpose(0, 1) for x in (mean, weights))
        # for images without detail, of which a few values determine all, the variance is zero
        std = (variance + 1e-4 * variance.mean((2, 3), keepdim=True)).clamp(min=1e-10).sqrt()
        return InitialEstimate(centre + mean, std, loo_error, weights, has_weights=True)
    if fill == "zero":
        return plain(operator.initial(y))
    return plain(operator.initial(y, centre))


def _krige(field: GaussianField, grey: Measurement, r: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance, weights and leave-one-out error of each channel of values r (C, B, 1, H, W), as in `LocalKriging`."""
    posterior = GaussianPosterior(field, grey)
    if not posterior.dense:
        return LocalKriging.of(field, grey, r)
    weights = posterior.weights(r)
    return posterior.gain(r), posterior.variance(), weights, posterior.loo_error(weights)
