"""The posterior of a Gaussian field given a linear measurement: mean (kriging) and exact samples.

With prior N(m, C), `y = A x + sigma e` and `K = A C A^T + sigma^2`, the mean is `m + C A^T K^-1 (y - A m)`; a prior sample
`u` becomes a posterior sample `u + C A^T K^-1 (y - A u - sigma e)` (Journel & Huijbregts 1978: conditioning by kriging).
Masks with few observed or few hidden pixels are solved by Cholesky (`invkit.physics.gaussian.kriging`), all other operators
by conjugate gradients: with noise, on the equivalent problem in the domain, preconditioned in the field's spectrum; without
noise, on K, which has the spectrum of the problem preconditioned with C^(1/2).
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.kriging import NUGGET, dense_kriging
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.least_squares import dot, times
from invkit.physics.operators.mask import Mask

Map = Callable[[Tensor], Tensor]


class GaussianPosterior:
    """The posterior of `field` given a measurement; immutable.

    Conjugate gradients that do not reach the relative residual `tolerance` within `max_steps` warn with the one reached.
    """

    def __init__(
        self, field: GaussianField, measurement: Measurement, *, tolerance: float = 1e-3, max_steps: int = 300
    ) -> None:
        self.field, self.measurement, self.grid = field, measurement, measurement.grid
        self.tolerance, self.max_steps = tolerance, max_steps
        self._transpose = measurement.operator.range_weight / self.grid.area  # A* = transpose * A^T
        self._points = dense_kriging(field, measurement)

    @property
    def dense(self) -> bool:
        """Whether it is solved by Cholesky."""
        return self._points is not None

    def gain(self, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for (S, B, *range): (S, B, C, H, W)."""
        if self._points is not None:
            return self._points.gain(r)
        operator, flat = self.measurement.operator.repeat(len(r)), r.flatten(0, 1).double()
        solve = self._in_the_domain if self.measurement.sigma > 0 else self._in_the_range
        return solve(operator, flat).to(r).unflatten(0, r.shape[:2])

    def _in_the_domain(self, operator: LinearOperator, r: Tensor) -> Tensor:
        """`(C^-1 + A^T A / s^2)^-1 A^T r / s^2` as `R w` with `C = R R^T`: `(1 + R^T A^T A R / s^2) w = R^T A^T r / s^2`.

        Preconditioned in the spectrum as if A^T A were its mean times the identity: exact for denoising.
        """
        field, grid, precision = self.field, self.grid, self.measurement.sigma**-2
        probe = torch.ones(len(r), *grid.picture, dtype=r.dtype, device=r.device)
        probe[..., ::2, 1::2], probe[..., 1::2, ::2] = -1, -1
        probe[..., ::3, :] *= -1  # a mixture of low and high frequencies
        gain = dot(operator.forward(probe), operator.forward(probe)) / probe[0].numel()
        power = field.spectrum(grid).diagonal().movedim(-1, 0).to(r) / grid.area

        def lifted(y: Tensor) -> Tensor:
            return field.root_adjoint(operator.adjoint(y) / self._transpose, grid) * precision

        w = self._conjugate_gradients(
            lambda w: w + lifted(operator.forward(field.root(w, grid))),
            lifted(r),
            lambda w: w / (1 + precision * gain.view(-1, 1, 1, 1) * power),
        )
        return field.root(w, grid)

    def _in_the_range(self, operator: LinearOperator, r: Tensor) -> Tensor:
        """`C A^T (A C A^T + nugget)^-1 r`, for measurements without noise."""

        def lifted(w: Tensor) -> Tensor:
            return self.field.covariance(operator.adjoint(w) / self._transpose, self.grid)

        scale = float(dot(r, operator.forward(lifted(r))).sum() / dot(r, r).sum().clamp(min=1e-30))
        w = self._conjugate_gradients(lambda w: operator.forward(lifted(w)) + NUGGET * scale * w, r, lambda w: w)
        return lifted(w)

    def _conjugate_gradients(self, matrix: Map, r: Tensor, precondition: Map) -> Tensor:
        """Solve `matrix w = r` for a batch, in float64: for smooth fields float32 stalls above the tolerance."""
        w, residual, direction = torch.zeros_like(r), r.clone(), precondition(r)
        rho = dot(residual, direction)
        first = rho.clamp(min=1e-300)
        for _ in range(self.max_steps):
            image = matrix(direction)
            step = rho / dot(direction, image).clamp(min=1e-300)
            w, residual = w + times(step, direction), residual - times(step, image)
            better = precondition(residual)
            new = dot(residual, better)
            if bool((new <= self.tolerance**2 * first).all()):
                return w
            direction, rho = better + times(new / rho.clamp(min=1e-300), direction), new
        warnings.warn(
            f"the Gaussian posterior stopped at a relative residual of {float((rho / first).max().sqrt()):.1e} after "
            f"{self.max_steps} steps of conjugate gradients (wanted: {self.tolerance:.0e})",
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
        operator, y = self.measurement.operator.repeat(count), self.measurement.y
        u = self.field.sample(forked, self.grid).to(y)
        r = y.repeat(count, *[1] * (y.ndim - 1)) - operator.forward(u)
        if self.measurement.sigma > 0:
            e = forked.normal("noise", *operator.range_shape).to(y) * self.measurement.sigma
            r = r - (operator.forward(e) if isinstance(operator, Mask) else e)
        return u.unflatten(0, (count, -1)) + self.gain(r.unflatten(0, (count, -1)))


__all__ = ["GaussianPosterior"]
