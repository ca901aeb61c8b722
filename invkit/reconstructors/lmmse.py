"""The linear minimum mean squared error estimate with the full covariance of the training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import dct, idct
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import LinearOperator, linear
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.base import Method, OpenTraining, Reconstructor, Sources

VALUES = 3 * 32 * 32  # maximum number of values of an image; the covariance has its square
NUGGET = 1e-8  # noise variance assumed for noiseless data, relative to the mean prior variance of a measured value
RIDGE = 1e-9  # added to the variance of every pixel, so that the covariance of grey images is invertible


@dataclass(frozen=True, eq=False)
class ImageCovariance:
    """Mean and covariance of the n = C H W values of images on one grid."""

    mean: Tensor  # (n,) float64
    covariance: Tensor  # (n, n) float64, positive definite
    intensity: float  # weight of the stationary target T in the covariance, 0 to 1

    @classmethod
    def fit(cls, x: Tensor, groups: Sequence[str]) -> Self:
        """Fit to images (N, C, H, W), of which only those of different groups are independent.

        The covariance is `(1 - s) S + s T` with the sample covariance S, and T equal to S within each cosine mode and zero
        between modes. The intensity s minimises the expected squared Frobenius error: the variance of the entries of S
        between modes, estimated over groups, divided by the sum of their squares (Ledoit & Wolf 2004, section 3, with T
        instead of the identity; Schäfer & Strimmer 2005, target D).
        """
        count, channels, shape = len(x), x.shape[1], x.shape[2:]
        mean = x.mean(0, dtype=torch.float64)
        modes = dct(x - mean.to(x)).flatten(2)  # (N, C, modes)
        own = torch.einsum("ncm,ndm->mcd", modes, modes).double() / count  # S within each mode
        flat = modes.flatten(1)
        second = sum((part.T @ part).double() for part in flat.split(1024)) / count
        assert isinstance(second, Tensor)
        between = float(second.square().sum() - own.square().sum())

        names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        place = torch.tensor([names[name] for name in groups], device=x.device)
        order, sizes = place.argsort(stable=True), place.bincount()
        noise = -between * float(sizes.double().square().sum())
        for part in modes[order].split(sizes.tolist()):
            rows = part.flatten(1)
            noise += float((rows @ rows.T).double().square().sum())
            noise -= float(torch.einsum("ncm,ndm->mcd", part, part).double().square().sum())
        intensity = min(1.0, max(0.0, noise / count**2 / between)) if between > 0 else 1.0

        shrunk = (1 - intensity) * second.view(channels, len(own), channels, len(own))
        shrunk.diagonal(dim1=1, dim2=3).add_(intensity * own.permute(1, 2, 0))
        half = idct(shrunk.reshape(-1, channels, *shape)).reshape(len(second), -1)
        covariance = idct(half.T.reshape(-1, channels, *shape)).reshape(len(second), -1)
        covariance.diagonal().add_(RIDGE)
        return cls(mean.flatten(), (covariance + covariance.T) / 2, intensity)

    @cached_property
    def root(self) -> Tensor:
        """Lower Cholesky factor: `root root^T = covariance`."""
        return torch.linalg.cholesky(self.covariance)


@dataclass(frozen=True, eq=False)
class _Solver:
    """Cholesky factorisation of `K = A C A^T + sigma^2` for one operator."""

    key: bytes  # bytes of the measurement of a probe, which identify the operator
    cross: Tensor  # C A^T: (n, M)
    factor: Tensor  # Cholesky factor of K: (M, M)
    values: Tensor | None  # indices of the observed values of a mask, (M,); None for other operators

    def gain(self, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for rows r (R, range): (R, n)."""
        observed = r if self.values is None else r[:, self.values]
        return torch.cholesky_solve(observed.T, self.factor).T @ self.cross.T


class Lmmse(Reconstructor):
    """Mean `m + C A^T (A C A^T + sigma^2)^-1 (y - A m)`, and samples of the corresponding Gaussian posterior.

    m and C are the mean and shrunk covariance (`ImageCovariance.fit`) of the first `pictures` training images, computed once
    per grid. Samples are prior samples conditioned on perturbed data, as in `invkit.physics.gaussian.posterior`. A mask is
    solved on its observed values; the matrix of any other operator is computed from unit images. Measurements of a batch
    with the same operator share its factorisation, and the last one is cached, so that a constant operator is factorised
    once. Computed in float64.
    """

    name = "lmmse"
    readouts = ("mean", "sample")

    def __init__(self, training: OpenTraining, pictures: int) -> None:
        self.training, self.pictures = training, pictures
        self._covariances: dict[tuple[Grid, torch.device], ImageCovariance] = {}
        self._last: dict[tuple[Grid, float], _Solver] = {}

    def nfe(self, readout: str) -> int:
        return 0

    def image_covariance(self, grid: Grid, device: torch.device) -> ImageCovariance:
        """Mean and covariance of the training images on a grid. Raises RecipeError if the grid is too fine."""
        check_size(grid)
        if (grid, device) not in self._covariances:
            images = self.training(grid, self.pictures)
            ids = range(min(self.pictures, len(images)))
            x = torch.cat([images[ids[i : i + 256]] for i in range(0, len(ids), 256)])
            self._covariances[grid, device] = ImageCovariance.fit(x.to(device), [images.group(i) for i in ids])
        return self._covariances[grid, device]

    def mean(self, measurement: Measurement) -> Tensor:
        y, grid = measurement.y.double(), measurement.grid
        m = self.image_covariance(grid, y.device).mean.expand(len(y), -1).view(-1, *grid.picture)
        return (m + self._gain(measurement, (y - measurement.operator.forward(m))[None])[0]).to(measurement.y)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        y, grid, forked = measurement.y.double(), measurement.grid, keys.fork(count)
        prior, operator = self.image_covariance(grid, y.device), measurement.operator.repeat(count)
        z = forked.normal("picture", len(prior.mean)).double()
        u = (prior.mean + z @ prior.root.T).view(-1, *grid.picture)
        r = y.repeat(count, *[1] * (y.ndim - 1)) - operator.forward(u)
        if measurement.sigma > 0:
            r = r - measurement.sigma * operator.measured(forked.normal("noise", *operator.range_shape).double())
        draws = u.unflatten(0, (count, -1)) + self._gain(measurement, r.unflatten(0, (count, -1)))
        return draws.to(measurement.y)

    def _gain(self, measurement: Measurement, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for (S, B, *range): (S, B, C, H, W)."""
        operator, grid = linear(measurement.operator, "lmmse"), measurement.grid
        prior = self.image_covariance(grid, r.device)
        probe = (
            Keys.of(0, "lmmse/probe", [0], r.device).normal("probe", *grid.picture).expand(len(operator), -1, -1, -1)
        )
        measured = operator.forward(probe.contiguous()).flatten(1).cpu().numpy()
        indices: dict[bytes, list[int]] = {}
        for b, values in enumerate(measured):
            indices.setdefault(values.tobytes(), []).append(b)
        out = r.new_empty(*r.shape[:2], *grid.picture)
        for key, same in indices.items():
            solver = self._last.get((grid, measurement.sigma))
            if solver is None or solver.key != key:
                solver = _solver(key, operator[same[0] : same[0] + 1], measurement.sigma, prior)
                self._last[grid, measurement.sigma] = solver
            rows = r[:, same].flatten(0, 1).flatten(1)
            out[:, same] = solver.gain(rows).view(len(r), len(same), *grid.picture)
        return out


def check_size(grid: Grid) -> None:
    """Raises RecipeError if images on the grid have too many values for a full covariance."""
    if (size := grid.channels * grid.pixels) > VALUES:
        raise RecipeError(
            f"eval.methods: `lmmse` computes a full covariance, of at most {VALUES} values per image (32x32 in three colours); "
            f"an image of {grid} has {size}; remove the method or change eval.grids"
        )


def _solver(key: bytes, operator: LinearOperator, sigma: float, prior: ImageCovariance) -> _Solver:
    """The solver for a batch of one operator."""
    if isinstance(operator, Mask):
        observed = operator.observed.expand(-1, operator.grid.channels, -1, -1)
        values = observed.flatten().nonzero()[:, 0]
        cross = prior.covariance[:, values]
        gram = cross[values]
    else:
        values, matrix = None, _matrix(operator, prior.mean)
        cross = prior.covariance @ matrix.T
        gram = matrix @ cross
    gram = (gram + gram.T) / 2
    nugget = NUGGET * float(gram.diagonal().mean()) if len(gram) else 0.0
    gram.diagonal().add_(max(sigma**2, nugget))
    return _Solver(key, cross, torch.linalg.cholesky(gram), values)


def _matrix(operator: LinearOperator, like: Tensor) -> Tensor:
    """The matrix (M, n) of A; its columns are the measurements of unit images."""
    n, columns = len(like), []
    for i in range(0, n, 256):
        units = torch.zeros(min(256, n - i), n, dtype=like.dtype, device=like.device)
        units[:, i : i + 256] = torch.eye(len(units), dtype=like.dtype, device=like.device)
        columns.append(operator.repeat(len(units)).forward(units.view(-1, *operator.grid.picture)).flatten(1))
    return torch.cat(columns).T


class LmmseMethod(Method):
    """Linear minimum mean squared error estimate with the full covariance of the training images (at most 32x32)."""

    pictures: int = Field(10_000, ge=2, description="training images for mean and covariance, the first of the split")

    def build(self, sources: Sources) -> Reconstructor:
        if sources.training is None:
            raise RecipeError(
                "eval.methods: the method `lmmse` requires clean training images, which are not available (as with "
                "train.clean=false); remove it"
            )
        for grid in sources.grids:
            check_size(grid)
        return Lmmse(sources.training, self.pictures)
