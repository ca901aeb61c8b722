"""The posterior of a Gaussian field given any measurement, approximated by that of the linearised operator."""

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.kriging import NUGGET
from invkit.physics.gaussian.posterior import TOLERANCE, GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.linearised import Linearised

STEPS = 6  # of Gauss-Newton
HALVINGS = 6  # of a step that is too long
ROUGH = 0.05  # tolerance of a step, in posterior standard deviations; the next one continues from there


class LaplacePosterior:
    """The Gaussian approximation of a posterior about an estimate: operator linearised, noise Gaussian.

    The estimate is `m + R w`, with m the mean of the field and `R R^T` its covariance. From `w = 0`, `STEPS` Gauss-Newton steps
    decrease `|w|^2 + |y - A(m + R w)|^2 / v` (Bell & Cathey 1993: the iterated Kalman filter). Without noise, v is `NUGGET` times
    the mean square of the measured values. For other than white Gaussian noise, v is the mean of the variances about the
    last `A(x)` and about `A(m)`.
    """

    def __init__(self, field: GaussianField, measurement: Measurement, steps: int = STEPS) -> None:
        self.field, self.measurement, self.grid = field, measurement, measurement.grid
        y = measurement.y
        self._centre = field.centre(self.grid, y.double()).expand(len(y), *self.grid.picture)
        w = torch.zeros_like(field.root_adjoint(self._centre, self.grid))
        for _ in range(steps):
            inner, variance = self._linearised(self._image(w), ROUGH)
            w = self._shortened(w, inner.modes(inner.measurement.y[None], w[None])[0], variance)
        self._estimate = self._image(w)

    def _linearised(self, x: Tensor, tolerance: float) -> tuple[GaussianPosterior, Tensor]:
        """The posterior of the operator linearised at images x, given `y - A(x) + J (x - m)`; and the variance of the noise."""
        operator, y = self.measurement.operator, self.measurement.y.double()
        found, j = operator.forward(x), Linearised((operator,), x)
        r = operator.measured(y - found + j.forward(x - self._centre))
        variance = self._variance(found)
        return GaussianPosterior(self.field, Measurement(j, r), variance=variance, tolerance=tolerance), variance

    def _variance(self, found: Tensor) -> Tensor:
        """The variance of the noise (B, *range) about values `A(x)`."""
        y, law = self.measurement.y.double(), self.measurement.noise
        least = NUGGET * y.square().flatten(1).mean(1).view(-1, *[1] * (y.ndim - 1))
        mean = (law.variance(found) + law.variance(self.measurement.operator.forward(self._centre))) / 2
        return mean.maximum(least.clamp(min=1e-30))

    def _shortened(self, w: Tensor, new: Tensor, variance: Tensor) -> Tensor:
        """The step from w to `new`, halved until the objective decreases."""
        before, t = self._objective(w, variance), w.new_ones(len(w))
        for _ in range(HALVINGS):
            step = w + t.view(-1, 1, 1, 1) * (new - w)
            if bool((better := self._objective(step, variance) <= before).all()):
                break
            t = torch.where(better, t, t / 2)
        return torch.where(better.view(-1, 1, 1, 1), step, w)

    def _image(self, w: Tensor) -> Tensor:
        return self._centre + self.field.root(w, self.grid)

    def _objective(self, w: Tensor, variance: Tensor) -> Tensor:
        operator, y = self.measurement.operator, self.measurement.y
        misfit = operator.measured(y - operator.forward(self._image(w))).square() / variance
        return w.square().flatten(1).sum(1) + misfit.flatten(1).sum(1)

    def mean(self) -> Tensor:
        """The estimate (B, C, H, W): approximately the most probable image."""
        return self._estimate.to(self.measurement.y)

    def sample(self, keys: Keys, count: int) -> Tensor:
        """Samples of the approximation (K, B, C, H, W), keyed by image."""
        inner, _ = self._linearised(self._estimate, ROUGH)
        return inner.sample(keys, count).to(self.measurement.y)


def posterior_of(
    field: GaussianField, measurement: Measurement, steps: int = STEPS, tolerance: float = TOLERANCE
) -> GaussianPosterior | LaplacePosterior:
    """The posterior of a field: exact for linear operators with white Gaussian noise, in `steps` approximate for others."""
    exact = isinstance(measurement.operator, LinearOperator) and measurement.noise.white is not None
    if exact:
        return GaussianPosterior(field, measurement, tolerance=tolerance)
    return LaplacePosterior(field, measurement, steps)
