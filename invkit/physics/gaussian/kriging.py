"""Dense kriging: the posterior of a Gaussian field given a mask, by one Cholesky factor for each image.

With few observed pixels the system is `K = C_oo + sigma^2`, and the gain `C_.o K^-1` (Matheron 1963). With few hidden pixels, the
precision `Q = (C + sigma^2)^-1` of the noisy image, which has the inverse spectrum, gives the same from a matrix of their number:
its hidden pixels have the mean `-Q_hh^-1 Q_ho y` and the covariance `Q_hh^-1` (Rue & Held 2005, theorem 2.5), and
`K^-1 y` is Q times the image completed by this mean.
Both also give the leave-one-out errors of the observed values (Dubrule 1983).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from invkit.core.device import send
from invkit.core.grid import Grid
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.basis import Basis
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

DENSE_VALUES = 4096  # largest number of values (pixels times channels) solved by Cholesky
TABLE = 2**27  # largest number of entries of a matrix of these by all values of an image
AT_ONCE = 2**26  # such entries of all images that are solved together
NUGGET = 1e-5  # noise variance assumed where there is none, relative to the mean prior variance of a measured value
SOLVED = 64  # triangular matrices up to this size are inverted by a solve
BANDS = 4  # bands of rows in products with a triangular matrix
RESOLVED = 1e-5  # float32 resolves a noise variance of so much, relative to the largest eigenvalue of a field
CONDITION = 1e9  # largest condition number of a field whose precision is used


class DenseKriging(ABC):
    """A Cholesky solver for each image; `gain`, `variance`, `weights` and `loo_error` are those of `GaussianPosterior`."""

    field: GaussianField
    measurement: Measurement

    @abstractmethod
    def gain(self, r: Tensor) -> Tensor:
        """From (S, B, C, H, W), zero where hidden, to the same shape."""

    @abstractmethod
    def variance(self) -> Tensor:
        """Posterior variance of each pixel: (B, C, H, W)."""

    @abstractmethod
    def weights(self, r: Tensor) -> Tensor:
        """From (S, B, C, H, W), zero where hidden, to the same shape, also zero where hidden."""

    @abstractmethod
    def precisions(self) -> Tensor:
        """Diagonal of `K^-1` (B, C, H, W), zero where hidden."""

    def loo_error(self, weights: Tensor) -> Tensor:
        """(B,), over all S of the weights (S, B, C, H, W)."""
        precisions = self.precisions()
        squares = weights.square().sum(0) / precisions.clamp(min=1e-30)
        counts = len(weights) * (precisions > 0).sum((1, 2, 3))
        mean = squares.sum((1, 2, 3)) / counts.clamp(min=1)
        return mean.masked_fill(counts == 0, 1.0).sqrt()

    @property
    def grid(self) -> Grid:
        return self.measurement.grid

    def _gram(self, field: GaussianField, chosen: Tensor, most: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Covariance of a field at chosen (B, 1, H, W) pixels, at most `most` in an image, 0 where padded; and which are valid."""
        self._points, self._valid = _pack(chosen, most)
        gram = field.gram(self.grid, self._points, self.measurement.y.to(dtype))
        keep = self._valid.repeat_interleave(self.grid.channels, 1)
        each = keep.to(gram)  # faster than with booleans
        return gram * each[:, :, None] * each[:, None], keep

    def _picked(self, x: Tensor) -> Tensor:
        """Values of images (S, B, C, H, W) at the points: (B, n * C, S)."""
        s, b, c, n = len(x), len(self._points), self.grid.channels, self._points.shape[1]
        picked = x.flatten(3).gather(3, self._points[:, None].expand(s, b, c, n)) * self._valid[:, None]
        return picked.permute(1, 3, 2, 0).reshape(b, n * c, s)

    def _lifted(self, w: Tensor) -> Tensor:
        """Values at the points (B, n * C, S) as images (S, B, C, H, W)."""
        (b, n), c, s = self._points.shape, self.grid.channels, w.shape[2]
        w = w.view(b, n, c, s).permute(3, 0, 2, 1) * self._valid[:, None]
        flat = w.new_zeros(s, b, c, self.grid.pixels)
        # Padding repeats pixel 0: its values, which are zero, must be added and not assigned.
        return flat.scatter_add_(3, self._points[:, None].expand(s, b, c, n), w).view(s, b, *self.grid.picture)


class ByObserved(DenseKriging):
    """A Cholesky factor of the covariance of the observed values."""

    def __init__(self, field: GaussianField, measurement: Measurement, most: int) -> None:
        self.field, self.measurement = field, measurement
        observed, y = measurement.observed, measurement.y
        assert observed is not None
        scale = field.pixel_std(self.grid) ** 2
        noise = measurement.sigma**2 or NUGGET * scale
        # float32 does not resolve little noise in smooth fields
        dtype = y.dtype if noise > RESOLVED * field.largest_power(self.grid) else torch.float64
        gram, keep = self._gram(field, observed, most, dtype)
        gram.diagonal(dim1=1, dim2=2).add_(torch.where(keep, noise, scale))
        self._cholesky = torch.linalg.cholesky_ex(gram).L

    def gain(self, r: Tensor) -> Tensor:
        return self.field.covariance(self._solved(r), self.grid).to(r)

    def weights(self, r: Tensor) -> Tensor:
        return self._solved(r).to(r)

    def _solved(self, r: Tensor) -> Tensor:
        return self._lifted(torch.cholesky_solve(self._picked(r).to(self._cholesky), self._cholesky))

    def precisions(self) -> Tensor:
        return self._lifted(self._inverse.square().sum(1)[:, :, None])[0]

    @cached_property
    def _inverse(self) -> Tensor:
        # Inverting a small factor and multiplying is faster than a triangular solve with as many columns as pixels.
        return inverted(self._cholesky).to(self.measurement.y)

    def variance(self) -> Tensor:
        y, c = self.measurement.y, self.grid.channels
        columns = self.field.columns(self.grid, self._points, y).view(len(y), -1, c * self.grid.pixels)
        explained = squares(self._inverse * self._valid.repeat_interleave(c, 1)[:, None], columns)
        variance = self.field.variance(self.grid).to(y).flatten() - explained
        return variance.clamp(min=0).view(len(y), *self.grid.picture)


class ByHidden(DenseKriging):
    """A Cholesky factor of the precision of the hidden values of the noisy image, in float64."""

    def __init__(self, field: GaussianField, precision: "Precision", measurement: Measurement, most: int) -> None:
        self.field, self.precision, self.measurement = field, precision, measurement
        observed = measurement.observed
        assert observed is not None
        gram, keep = self._gram(precision, ~observed, most, torch.float64)
        gram.diagonal(dim1=1, dim2=2).add_((~keep).to(gram))
        self._observed, self._cholesky = observed, torch.linalg.cholesky_ex(gram).L

    def _completed(self, r: Tensor) -> Tensor:
        """The noisy image whose hidden values are their mean, float64."""
        known = (r * self._observed).double()
        pull = self._picked(self.precision.covariance(known, self.grid))
        return known - self._lifted(torch.cholesky_solve(pull, self._cholesky))

    def gain(self, r: Tensor) -> Tensor:
        """`C K^-1 r`: the completed noisy image less `sigma^2 K^-1 r`, its noise."""
        z = self._completed(r)
        return (z - self.measurement.sigma**2 * self._precise_weights(z) if self.measurement.sigma else z).to(r)

    def weights(self, r: Tensor) -> Tensor:
        return self._precise_weights(self._completed(r)).to(r)

    def _precise_weights(self, completed: Tensor) -> Tensor:
        return self.precision.covariance(completed, self.grid) * self._observed

    def precisions(self) -> Tensor:
        return self._diagonal().to(self.measurement.y)

    def _diagonal(self) -> Tensor:
        """The diagonal of `Q_oo - Q_oh Q_hh^-1 Q_ho`, float64."""
        b, c = len(self._observed), self.grid.channels
        columns = (
            self.precision.columns(self.grid, self._points, self._cholesky) * self._valid[:, :, None, None, None, None]
        )
        pull = torch.linalg.solve_triangular(self._cholesky, columns.view(b, -1, c * self.grid.pixels), upper=False)
        whole = self.precision.variance(self.grid).to(pull).flatten()
        return (whole - pull.square().sum(1)).view(b, *self.grid.picture) * self._observed

    def variance(self) -> Tensor:
        """That of the noisy image less the noise where hidden; `sigma^2 - sigma^4 K^-1` where observed."""
        noise = self.measurement.sigma**2
        variance = self._lifted(inverted(self._cholesky).square().sum(1)[:, :, None])[0]
        if noise:
            variance = torch.where(self._observed, noise - noise**2 * self._diagonal(), variance - noise).clamp(min=0)
        return variance.to(self.measurement.y)


class ByGroup(DenseKriging):
    """A batch in groups, each with its own solver."""

    def __init__(self, measurement: Measurement, parts: list[tuple[Tensor, DenseKriging]]) -> None:
        self.measurement, self.parts = measurement, parts  # places in the batch, and their solver

    def gain(self, r: Tensor) -> Tensor:
        return self._each(lambda places, part: part.gain(r[:, places]), dim=1)

    def weights(self, r: Tensor) -> Tensor:
        return self._each(lambda places, part: part.weights(r[:, places]), dim=1)

    def variance(self) -> Tensor:
        return self._each(lambda _, part: part.variance())

    def precisions(self) -> Tensor:
        return self._each(lambda _, part: part.precisions())

    def _each(self, of: Callable[[Tensor, DenseKriging], Tensor], dim: int = 0) -> Tensor:
        order = torch.cat([places for places, _ in self.parts]).argsort()
        return torch.cat([of(places, part) for places, part in self.parts], dim).index_select(dim, order)


def solvable(values: int, grid: Grid) -> bool:
    """Whether a system of `values` unknowns (pixels times channels) of an image is small enough for Cholesky."""
    return values <= DENSE_VALUES and values * grid.channels * grid.pixels <= TABLE


def dense_kriging(field: GaussianField, measurement: Measurement) -> DenseKriging | None:
    """The dense solver for a mask shared by all channels: for each image by its observed or its hidden pixels, whichever are fewer.

    None where the systems are too large. Images are grouped on the host by the size of their systems, for which a mask is read
    once, unless it states the numbers of its observed pixels (`Mask.counts`) and all their systems are of one kind.
    """
    observed = measurement.observed
    if observed is None or observed.shape[1] > 1:
        return None
    grid = measurement.grid
    precision = precision_of(field, grid, measurement.sigma)
    sizes = _sizes(measurement, precision is not None)
    most = max(size for _, size in sizes)
    if not solvable(most * grid.channels, grid):
        return None
    room = max(1, AT_ONCE // (max(1, most) * grid.channels**2 * grid.pixels))
    kinds = [_kind(size) for size in sizes]

    def solver(chosen: Measurement, hidden: bool, most: int) -> DenseKriging:
        return ByHidden(field, precision, chosen, most) if precision and hidden else ByObserved(field, chosen, most)

    if len({*kinds}) == 1 and len(measurement) <= room:
        return solver(measurement, kinds[0][0], most)
    parts = []
    for kind in sorted({*kinds}):
        every = [i for i, own in enumerate(kinds) if own == kind]
        most = max(sizes[i][1] for i in every)
        for places in send(torch.tensor(every), observed.device).split(room):
            parts.append((places, solver(measurement[places], kind[0], most)))
    return ByGroup(measurement, parts)


Size = tuple[bool, int]  # whether an image is kriged by its hidden pixels, and the number of unknowns


def _sizes(measurement: Measurement, invertible: bool) -> list[Size]:
    """The size of each image's system. The mask is read unless it states the numbers of observed pixels, all of one kind."""
    operator, pixels = measurement.operator, measurement.grid.pixels
    assert isinstance(operator, Mask)

    def size(count: int) -> Size:
        hidden = pixels - count
        return (True, hidden) if invertible and count > hidden else (False, count)

    if operator.counts is not None:
        ends = [size(count) for count in operator.counts]
        if _kind(ends[0]) == _kind(ends[1]):
            return [max(ends)] * len(measurement)
    return [size(count) for count in operator.observed.sum((1, 2, 3)).tolist()]


def _kind(size: Size) -> tuple[bool, int]:
    """Systems of one kind are of similar size; all are padded to the largest."""
    return size[0], math.ceil(math.log2(max(64, size[1])))


@dataclass(frozen=True)
class Precision(GaussianField):
    """The field whose covariance matrix of the pixels is the inverse of another field's, with added noise."""

    field: GaussianField
    sigma: float = 0.0

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        return self.field.basis

    def spectrum(self, grid: Grid) -> Tensor:
        return torch.linalg.inv(_matrices(self.field, grid, self.sigma)).permute(2, 3, 0, 1) * grid.area**2

    def mean(self, grid: Grid) -> Tensor:
        return torch.zeros_like(self.field.mean(grid))


@lru_cache(maxsize=32)
def precision_of(field: GaussianField, grid: Grid, sigma: float = 0.0) -> Precision | None:
    """The precision of a field with noise; None where its domain is larger than the image, or where it is ill-conditioned."""
    if field.margin(grid):
        return None
    powers = torch.linalg.eigvalsh(_matrices(field, grid, sigma))
    return Precision(field, sigma) if float(powers.min()) * CONDITION > float(powers.max()) else None


def _matrices(field: GaussianField, grid: Grid, sigma: float) -> Tensor:
    """Colour covariances of the modes, with the noise of the pixels: (H, W, C, C)."""
    spectrum = field.spectrum(grid).cpu().permute(2, 3, 0, 1)
    return spectrum + sigma**2 * grid.area * torch.eye(grid.channels, dtype=spectrum.dtype)


def _pack(chosen: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Indices of the chosen pixels, at most so many, (B, n), n >= 1, padded with 0, and which are valid (B, n)."""
    flat = chosen.flatten(1)
    order = flat.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : max(1, most)]
    valid = torch.arange(order.shape[1], device=flat.device) < flat.sum(1)[:, None]
    return torch.where(valid, order, 0), valid


def inverted(factor: Tensor) -> Tensor:
    """The inverse of lower triangular matrices (B, n, n) by blocks: mostly products, which are faster than solves."""
    n = factor.shape[-1]
    if n <= SOLVED:
        identity = torch.eye(n, dtype=factor.dtype, device=factor.device)
        return torch.linalg.solve_triangular(factor, identity, upper=False)
    m, out = n // 2, torch.zeros_like(factor)
    out[:, :m, :m], out[:, m:, m:] = inverted(factor[:, :m, :m]), inverted(factor[:, m:, m:])
    out[:, m:, :m] = -out[:, m:, m:] @ factor[:, m:, :m] @ out[:, :m, :m]
    return out


def squares(lower: Tensor, columns: Tensor) -> Tensor:
    """Squared norms (B, p) of the columns of `lower @ columns`, (B, n, n) by (B, n, p), using that `lower` is triangular."""
    ends = [round(lower.shape[1] * i / BANDS) for i in range(BANDS + 1)]
    rows = (lower[:, a:b, :b] @ columns[:, :b] for a, b in pairwise(ends) if a < b)
    return torch.stack([torch.linalg.vecdot(r, r, dim=1) for r in rows]).sum(0)
