"""The posterior of a Gaussian field given a linear measurement: mean (kriging) and exact samples.

With prior N(m, C), `y = A x + sigma e` and `K = A C A^T + sigma^2`, the mean is `m + C A^T K^-1 (y - A m)`; a prior draw
`u` becomes a posterior draw `u + C A^T K^-1 (y - A u - sigma e)` (Journel & Huijbregts 1978: conditioning by kriging).
Masks of few points are solved by Cholesky; every other operator by conjugate gradients on K, whose spectrum is that of
the problem preconditioned with C^(1/2).
"""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from invkit.degradation import Measurement
from invkit.field import GaussianField
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import Mask

DENSE_POINTS = 512  # at most this many points of a mask are solved by Cholesky
NUGGET = 1e-5  # noise variance taken where there is none, as a share of the mean prior variance of a measured value


@lru_cache(maxsize=16)
def _lags(field: GaussianField, grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Covariance by lag, (2H * 2W, C * C): the covariance of two pixels is its sum over both signs of both axes."""
    power = field.power(grid, torch.empty(0, dtype=torch.float64))
    for axis, n in ((2, grid.height), (3, grid.width)):
        k, lag = torch.arange(n, dtype=torch.float64), torch.arange(2 * n, dtype=torch.float64)
        waves = torch.cos(torch.pi / n * lag[:, None] * k) * (1.0 / n)
        waves[:, 0] /= 2
        power = torch.tensordot(power, waves, dims=([axis], [1])).movedim(-1, axis)
    return power.permute(2, 3, 0, 1).reshape(4 * grid.pixels, -1).to(device, dtype)


def _gram(field: GaussianField, grid: Grid, points: Tensor, like: Tensor) -> Tensor:
    """Prior covariance of the colours at some pixels (B, n): (B, n * C, n * C)."""
    table = _lags(field, grid, like.device, like.dtype)
    row, column = points // grid.width, points % grid.width
    rows = [(row[:, :, None] - row[:, None]).abs(), row[:, :, None] + row[:, None] + 1]
    columns = [(column[:, :, None] - column[:, None]).abs(), column[:, :, None] + column[:, None] + 1]
    index = [(r * 2 * grid.width + c).view(-1) for r in rows for c in columns]
    total = table[index[0]]
    for i in index[1:]:
        total += table[i]
    b, n = points.shape
    return total.view(b, n, n, grid.channels, -1).transpose(2, 3).reshape(b, n * grid.channels, -1)


class GaussianPosterior:
    """The posterior of `field` given a measurement; immutable.

    `residual` is the largest relative residual of the last conjugate-gradient solve (0 for Cholesky). A solve that has
    not reached `tolerance` after `max_steps` warns with the residual it did reach.
    """

    def __init__(
        self, field: GaussianField, measurement: Measurement, *, tolerance: float = 1e-3, max_steps: int = 300
    ) -> None:
        self.field, self.measurement, self.grid = field, measurement, measurement.grid
        self.tolerance, self.max_steps = tolerance, max_steps
        y, operator = measurement.y, measurement.operator
        self._transpose = operator.range_weight / self.grid.area  # from A* to A^T, inverted
        observed = measurement.observed
        self.dense = (
            observed is not None and observed.shape[1] == 1 and int(observed.sum((1, 2, 3)).max()) <= DENSE_POINTS
        )
        if self.dense:
            assert observed is not None
            self._points, self._valid = _pack(observed)
            gram = _gram(field, self.grid, self._points, y)
            keep = self._valid.repeat_interleave(self.grid.channels, 1)
            gram *= (keep[:, :, None] & keep[:, None]).to(gram)
            scale = float(field.power(self.grid, y).diagonal().mean())
            gram.diagonal(dim1=1, dim2=2).add_(torch.where(keep, max(measurement.sigma**2, NUGGET * scale), scale))
            self._cholesky = _factorise(gram)

    def _gain(self, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for (S, B, *range): (S, B, C, H, W)."""
        if isinstance(self.measurement.operator, Mask) and self.dense:
            s, b, c, n = len(r), len(self._points), self.grid.channels, self._points.shape[1]
            place = self._points[:, None].expand(b, c, n)
            picked = r.flatten(3).gather(3, place.expand(s, b, c, n)) * self._valid[:, None]  # (S, B, C, n)
            rhs = picked.permute(1, 3, 2, 0).reshape(b, n * c, s)
            w = torch.cholesky_solve(rhs.to(self._cholesky), self._cholesky).to(r)
            w = w.view(b, n, c, s).permute(3, 0, 2, 1) * self._valid[:, None]
            # Padding repeats pixel 0, so its (zero) weights are added, never put.
            lifted = torch.zeros_like(r.flatten(3)).scatter_add_(3, place.expand(s, b, c, n), w).view_as(r)
            return self.field.covariance(lifted, self.grid)
        operator = self.measurement.operator.repeat(len(r))
        w = self._conjugate_gradients(operator, r.flatten(0, 1))
        return self.field.covariance(operator.adjoint(w) / self._transpose, self.grid).unflatten(0, r.shape[:2])

    def _conjugate_gradients(self, operator, r: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        def matrix(w: Tensor) -> Tensor:
            lifted = self.field.covariance(operator.adjoint(w) / self._transpose, self.grid)
            return operator.forward(lifted) + nugget * w

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).view(-1, *[1] * (r.ndim - 1))

        nugget = self.measurement.sigma**2
        if nugget == 0:
            nugget = float(dot(r, matrix(r)).sum() / dot(r, r).sum().clamp(min=1e-30)) * NUGGET
        w, residual, norm = torch.zeros_like(r), r.clone(), dot(r, r).clamp(min=1e-30)
        direction, rho = residual.clone(), norm
        for _ in range(self.max_steps):
            image = matrix(direction)
            step = rho / dot(direction, image).clamp(min=1e-30)
            w, residual = w + step * direction, residual - step * image
            new = dot(residual, residual)
            if bool((new <= self.tolerance**2 * norm).all()):
                break
            direction, rho = residual + new / rho.clamp(min=1e-30) * direction, new
        reached = float((new / norm).max().sqrt())
        if reached > self.tolerance:
            warnings.warn(
                f"the Gaussian posterior stopped at a relative residual of {reached:.1e} after {self.max_steps} steps of "
                f"conjugate gradients (asked: {self.tolerance:.0e})",
                stacklevel=4,
            )
        return w

    def mean(self) -> Tensor:
        """Posterior mean (B, C, H, W)."""
        y = self.measurement.y
        m = self.field.centre(self.grid, y).expand(len(y), *self.grid.picture)
        return m + self._gain((y - self.measurement.operator.forward(m))[None])[0]

    def sample(self, keys: Keys, count: int) -> Tensor:
        """Exact posterior draws (K, B, C, H, W), keyed by picture."""
        forked = keys.fork(count)
        operator, y = self.measurement.operator.repeat(count), self.measurement.y
        u = self.field.sample(forked, self.grid).to(y)
        r = y.repeat(count, *[1] * (y.ndim - 1)) - operator.forward(u)
        if self.measurement.sigma > 0:
            e = forked.normal("noise", *operator.range_shape).to(y) * self.measurement.sigma
            r = r - (operator.forward(e) if isinstance(operator, Mask) else e)
        return u.unflatten(0, (count, -1)) + self._gain(r.unflatten(0, (count, -1)))


def _pack(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the observed pixels (B, n), the rows padded with 0 to the longest, and which are real (B, n)."""
    flat = observed.flatten(1)
    counts = flat.sum(1)
    order = flat.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    valid = torch.arange(order.shape[1], device=flat.device) < counts[:, None]
    return torch.where(valid, order, 0), valid


def _factorise(gram: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(gram)
    if bool(info.any()):  # smooth fields and close points are beyond float32
        factor = torch.linalg.cholesky(gram.double())
    return factor


__all__ = ["DENSE_POINTS", "NUGGET", "GaussianPosterior"]
