"""The posterior of a Gaussian field given a linear measurement: mean (kriging) and exact samples.

With prior N(m, C), `y = A x + sigma e` and `K = A C A^T + sigma^2`, the mean is `m + C A^T K^-1 (y - A m)`; a prior sample
`u` becomes a posterior sample `u + C A^T K^-1 (y - A u - sigma e)` (Journel & Huijbregts 1978: conditioning by kriging).
Masks with few observed or few hidden pixels are solved by Cholesky (`invkit.physics.gaussian.kriging`), all other operators
by conjugate gradients on the equivalent problem in the domain, preconditioned in the field's spectrum.
"""

import warnings
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.kriging import NUGGET, dense_kriging
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator, linear
from invkit.physics.operators.least_squares import dot, times
from invkit.physics.operators.mask import Mask

TOLERANCE = 3e-3  # error of the conjugate gradients, in posterior standard deviations
ROUNDING = 1e-12  # relative residual that float64 reaches
Map = Callable[[Tensor], Tensor]


class GaussianPosterior:
    """The posterior of `field` given a measurement; immutable.

    Conjugate gradients stop when the error is at most `tolerance` posterior standard deviations, as a root mean square over
    the directions in which the posterior is independent; if they do not get there within `max_steps`, they warn. `variance`
    (B, *range) is that of independent noise of the measured values, in place of the measurement's; it is not solved by Cholesky.
    """

    def __init__(
        self, field: GaussianField, measurement: Measurement, *, tolerance: float = TOLERANCE, max_steps: int = 2000,
        variance: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.field, self.measurement, self.grid = field, measurement, measurement.grid
        self.tolerance, self.max_steps = tolerance, max_steps
        self._operator = linear(measurement.operator, "the Gaussian posterior")
        self._transpose = self._operator.range_weight / self.grid.area  # A* = transpose * A^T
        self._given, self._points = variance, dense_kriging(field, measurement) if variance is None else None

    @property
    def dense(self) -> bool:
        """Whether it is solved by Cholesky."""
        return self._points is not None

    def gain(self, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for (S, B, *range): (S, B, C, H, W)."""
        if self._points is not None:
            return self._points.gain(r)
        return self.field.root(self.modes(r), self.grid).to(r)

    def modes(self, r: Tensor, start: Tensor | None = None) -> Tensor:
        """`w` (S, B, modes) float64 with `gain(r) = R w`, by conjugate gradients from `start`, by default zero."""
        begin = None if start is None else start.flatten(0, 1).double()
        found = self._in_the_domain(self._operator.repeat(len(r)), r.flatten(0, 1).double(), begin)
        return found.unflatten(0, r.shape[:2])

    def _in_the_domain(self, operator: LinearOperator, r: Tensor, start: Tensor | None) -> Tensor:
        """`(C^-1 + A^T A / s^2)^-1 A^T r / s^2` as `R w` with `C = R R^T`: `(1 + R^T A^T A R / s^2) w = R^T A^T r / s^2`.

        The matrix is the precision of w, so its energy norm measures errors in posterior standard deviations. Preconditioned in
        the spectrum as if A^T A were its mean times the identity: exact for denoising.
        """
        field, grid = self.field, self.grid
        precision = (1 / self._noise_variance).repeat(len(r) // len(self._noise_variance), *[1] * (r.ndim - 1))
        probe = torch.ones(len(r), *grid.picture, dtype=r.dtype, device=r.device)
        probe[..., ::2, 1::2], probe[..., 1::2, ::2] = -1, -1
        probe[..., ::3, :] *= -1  # a mixture of low and high frequencies
        image = operator.forward(probe)
        gain = dot(image, precision * image) / probe[0].numel()
        power = field.spectrum(grid).diagonal().movedim(-1, 0).to(r) / grid.area

        def lifted(y: Tensor) -> Tensor:
            return field.root_adjoint(operator.adjoint(precision * y) / self._transpose, grid)

        def matrix(w: Tensor) -> Tensor:
            return w + lifted(operator.forward(field.root(w, grid)))

        rest = lifted(r) if start is None else lifted(r) - matrix(start)
        found = self._conjugate_gradients(matrix, rest, lambda w: w / (1 + gain.view(-1, 1, 1, 1) * power))
        return found if start is None else start + found

    @cached_property
    def _noise_variance(self) -> Tensor:
        """The variance of the noise (B, *range) or (B, 1, ...), float64.

        Without noise, `NUGGET` times the mean prior variance of a measured value: that is the mean of the diagonal of `A C A^T`,
        estimated with one random vector (Hutchinson 1989).
        """
        operator, y = self._operator, self.measurement.y.double()
        if self._given is not None:
            return self._given.double()
        if self.measurement.sigma > 0:
            return y.new_full((len(y), *[1] * (y.ndim - 1)), self.measurement.sigma**2)
        probe = Keys.of(0, "nugget", [0], y.device).normal("probe", *operator.range_shape).to(y)
        probe = operator.measured(probe.expand_as(y))
        image = operator.forward(self.field.covariance(operator.adjoint(probe) / self._transpose, self.grid))
        found = NUGGET * (dot(probe, image) / dot(probe, probe).clamp(min=1e-300)).clamp(min=1e-300)
        return found.view(-1, *[1] * (y.ndim - 1))

    def _conjugate_gradients(self, matrix: Map, r: Tensor, precondition: Map) -> Tensor:
        """Solve `matrix w = r` for a batch, in float64: for smooth fields float32 stalls above the tolerance.

        The squared energy norm of the error decreases by `step * rho` in each step, so that the decrease in the last steps
        is at most what it was before them (Hestenes & Stiefel 1952, theorem 6:1); these are the last quarter of all.
        """
        w, residual, direction = torch.zeros_like(r), r.clone(), precondition(r)
        rho = dot(residual, direction)
        decreases: list[Tensor] = []
        for k in range(1, self.max_steps + 1):
            image = matrix(direction)
            step = rho / dot(direction, image).clamp(min=1e-300)
            w, residual = w + times(step, direction), residual - times(step, image)
            decreases.append(step * rho)
            better = precondition(residual)
            new = dot(residual, better)
            error = (torch.stack(decreases[-max(2, k // 4) :]).sum(0) / r[0].numel()).sqrt()
            if bool(((error <= self.tolerance) | (new <= ROUNDING**2 * decreases[0])).all()):
                return w
            direction, rho = better + times(new / rho.clamp(min=1e-300), direction), new
        warnings.warn(
            f"the Gaussian posterior stopped {float(error.max()):.1g} posterior standard deviations from the solution after "
            f"{self.max_steps} steps of conjugate gradients (wanted: {self.tolerance:g})",
            stacklevel=5,
        )
        return w

    def mean(self) -> Tensor:
        """Posterior mean (B, C, H, W)."""
        y = self.measurement.y
        m = self.field.centre(self.grid, y).expand(len(y), *self.grid.picture)
        return m + self.gain((y - self.measurement.operator.forward(m))[None])[0]

    def variance(self, keys: Keys | None = None, draws: int = 64) -> Tensor:
        """Pointwise posterior variance (B, C, H, W).

        With Cholesky it is exact up to the nugget: the prior variance minus the squared columns of `L^-1 A C`. Otherwise it is
        the variance of `draws` exact samples, with a relative standard error of sqrt(2 / (draws - 1)) and the error of the
        solver, and needs `keys`.
        """
        if self._points is not None:
            return self._points.variance()
        if keys is None:
            raise ValueError("the variance of this measurement is estimated from samples: give keys")
        return self.sample(keys, draws).var(0)

    def weights(self, r: Tensor) -> Tensor:
        """`K^-1 r` for values minus their prior mean (S, B, C, H, W), zero where hidden: `C` times these is `gain(r)`.

        Raises ValueError without Cholesky.
        """
        if self._points is None:
            raise ValueError("the kriging weights need a posterior that is solved by Cholesky")
        return self._points.weights(r)

    def loo_error(self, weights: Tensor) -> Tensor:
        """Standardised leave-one-out error of the measured values, (B,), from `weights(r)` (S, B, C, H, W).

        The root mean square, over all values, of the error of kriging each from the others, divided by the kriging standard
        deviation: with K as above `(K^-1 r)_i / sqrt((K^-1)_ii)` (Dubrule 1983). Its mean square is one for samples of the field;
        otherwise it estimates the factor on the field's standard deviation (Bachoc 2013: cross-validation of the variance). One
        where nothing is observed.
        """
        assert self._points is not None
        return self._points.loo_error(weights)

    def sample(self, keys: Keys, count: int) -> Tensor:
        """Exact posterior samples (K, B, C, H, W), keyed by image."""
        forked = keys.fork(count)
        operator, y = self._operator.repeat(count), self.measurement.y
        u = self.field.sample(forked, self.grid).to(y)
        r = y.repeat(count, *[1] * (y.ndim - 1)) - operator.forward(u)
        std = (
            self.measurement.sigma
            if self._given is None
            else self._given.sqrt().to(y).repeat(count, *[1] * (y.ndim - 1))
        )
        if isinstance(std, Tensor) or std > 0:
            e = forked.normal("noise", *operator.range_shape).to(y) * std
            r = r - (operator.forward(e) if isinstance(operator, Mask) else e)
        return u.unflatten(0, (count, -1)) + self.gain(r.unflatten(0, (count, -1)))


__all__ = ["GaussianPosterior"]
