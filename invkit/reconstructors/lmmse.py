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
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.base import Method, Opened, Reconstructor, Sources

VALUES = 3 * 32 * 32  # of a picture at most: its covariance has their square


NUGGET = 1e-8  # noise variance taken where there is none, as a share of the mean prior variance of a measured value


RIDGE = (
    1e-9  # added to the variance of every pixel, so that pictures with equal colours have a covariance with an inverse
)


@dataclass(frozen=True, eq=False)
class ImageCovariance:
    """Mean and covariance of the n = C H W values of pictures on one grid."""

    mean: Tensor  # (n,) float64
    covariance: Tensor  # (n, n) float64, positive definite
    intensity: float  # share of the field in the covariance: 0 to 1

    @classmethod
    def fit(cls, x: Tensor, groups: Sequence[str]) -> Self:
        """Fit to pictures (N, C, H, W); those of one group are not independent of each other.

        The covariance is `(1 - s) S + s T`. S is the pictures' own, and T the field fitted to them: S without what joins
        different cosine modes. The intensity s minimises the expected squared Frobenius error: the variance of what is
        left out, as it is between groups, over its square (Ledoit & Wolf 2004, section 3, with T in the place of the identity;
        Schäfer & Strimmer 2005, target D).
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
        """Lower triangular, `root root^T = covariance`."""
        return torch.linalg.cholesky(self.covariance)


@dataclass(frozen=True, eq=False)
class _Solver:
    """`K = A C A^T + sigma^2` of one operator, factorised."""

    key: bytes  # what the operator makes of a probe
    cross: Tensor  # C A^T: (n, M)
    factor: Tensor  # Cholesky factor of K: (M, M)
    values: Tensor | None  # of a mask: which are measured, (M,)

    def gain(self, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for rows r (R, range): (R, n)."""
        seen = r if self.values is None else r[:, self.values]
        return torch.cholesky_solve(seen.T, self.factor).T @ self.cross.T


class Lmmse(Reconstructor):
    """Mean `m + C A^T (A C A^T + sigma^2)^-1 (y - A m)`, and samples of the Gaussian law with these moments.

    m and C are those of the first `pictures` training pictures, shrunk (`ImageCovariance.fit`), once for each grid. Samples are
    prior draws that are perturbed and solved, as in `invkit.physics.gaussian.posterior`. A mask is solved on what it
    shows; another operator is written as a matrix by measuring unit pictures. Pictures of a batch with the same
    operator share its factorisation, and the last one is kept, so that an operator that never changes is factorised once.
    All in float64.
    """

    name = "lmmse"
    readouts = ("mean", "sample")

    def __init__(self, training: Opened, pictures: int) -> None:
        self.training, self.pictures = training, pictures
        self._laws: dict[tuple[Grid, torch.device], ImageCovariance] = {}
        self._last: dict[tuple[Grid, float], _Solver] = {}

    def nfe(self, readout: str) -> int:
        return 0

    def law(self, grid: Grid, device: torch.device) -> ImageCovariance:
        """The law of the training pictures on a grid. Raises RecipeError where it is too fine."""
        check_size(grid)
        if (grid, device) not in self._laws:
            images = self.training(grid, self.pictures)
            ids = range(min(self.pictures, len(images)))
            x = torch.cat([images[ids[i : i + 256]] for i in range(0, len(ids), 256)])
            self._laws[grid, device] = ImageCovariance.fit(x.to(device), [images.group(i) for i in ids])
        return self._laws[grid, device]

    def mean(self, measurement: Measurement) -> Tensor:
        y, grid = measurement.y.double(), measurement.grid
        m = self.law(grid, y.device).mean.expand(len(y), -1).view(-1, *grid.picture)
        return (m + self._gain(measurement, (y - measurement.operator.forward(m))[None])[0]).to(measurement.y)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        y, grid, forked = measurement.y.double(), measurement.grid, keys.fork(count)
        law, operator = self.law(grid, y.device), measurement.operator.repeat(count)
        z = forked.normal("picture", len(law.mean)).double()
        u = (law.mean + z @ law.root.T).view(-1, *grid.picture)
        r = y.repeat(count, *[1] * (y.ndim - 1)) - operator.forward(u)
        if measurement.sigma > 0:
            r = r - measurement.sigma * operator.measured(forked.normal("noise", *operator.range_shape).double())
        draws = u.unflatten(0, (count, -1)) + self._gain(measurement, r.unflatten(0, (count, -1)))
        return draws.to(measurement.y)

    def _gain(self, measurement: Measurement, r: Tensor) -> Tensor:
        """`C A^T K^-1 r` for (S, B, *range): (S, B, C, H, W)."""
        operator, grid = measurement.operator, measurement.grid
        law = self.law(grid, r.device)
        probe = (
            Keys.of(0, "lmmse/probe", [0], r.device).normal("probe", *grid.picture).expand(len(operator), -1, -1, -1)
        )
        marks = operator.forward(probe.contiguous()).flatten(1).cpu().numpy()
        places: dict[bytes, list[int]] = {}
        for b, mark in enumerate(marks):
            places.setdefault(mark.tobytes(), []).append(b)
        out = r.new_empty(*r.shape[:2], *grid.picture)
        for key, found in places.items():
            solver = self._last.get((grid, measurement.sigma))
            if solver is None or solver.key != key:
                solver = _solver(key, operator[found[0] : found[0] + 1], measurement.sigma, law)
                self._last[grid, measurement.sigma] = solver
            rows = r[:, found].flatten(0, 1).flatten(1)
            out[:, found] = solver.gain(rows).view(len(r), len(found), *grid.picture)
        return out


def check_size(grid: Grid) -> None:
    """Raises RecipeError where pictures have too many values for a full covariance."""
    if (size := grid.channels * grid.pixels) > VALUES:
        raise RecipeError(
            f"eval.methods: `lmmse` takes a full covariance, of at most {VALUES} values a picture (32x32 in three colours), "
            f"and one of {grid} has {size}; leave it out, or set eval.grids"
        )


def _solver(key: bytes, operator: LinearOperator, sigma: float, law: ImageCovariance) -> _Solver:
    """The factorisation for a batch of one operator."""
    if isinstance(operator, Mask):
        observed = operator.observed.expand(-1, operator.grid.channels, -1, -1)
        values = observed.flatten().nonzero()[:, 0]
        cross = law.covariance[:, values]
        gram = cross[values]
    else:
        values, matrix = None, _matrix(operator, law.mean)
        cross = law.covariance @ matrix.T
        gram = matrix @ cross
    gram = (gram + gram.T) / 2
    nugget = NUGGET * float(gram.diagonal().mean()) if len(gram) else 0.0
    gram.diagonal().add_(max(sigma**2, nugget))
    return _Solver(key, cross, torch.linalg.cholesky(gram), values)


def _matrix(operator: LinearOperator, like: Tensor) -> Tensor:
    """A as a matrix (M, n), by measuring unit pictures."""
    n, columns = len(like), []
    for i in range(0, n, 256):
        units = torch.zeros(min(256, n - i), n, dtype=like.dtype, device=like.device)
        units[:, i : i + 256] = torch.eye(len(units), dtype=like.dtype, device=like.device)
        columns.append(operator.repeat(len(units)).forward(units.view(-1, *operator.grid.picture)).flatten(1))
    return torch.cat(columns).T


class LmmseMethod(Method):
    """The linear estimate of least mean square error, by the full covariance of the training pictures (32x32 at most)."""

    pictures: int = Field(10_000, ge=2, description="training pictures for mean and covariance, the first of the split")

    def build(self, sources: Sources) -> Reconstructor:
        if sources.training is None:
            raise RecipeError(
                "eval.methods: the row `lmmse` needs training pictures, and none are at hand; leave it out"
            )
        for grid in sources.grids:
            check_size(grid)
        return Lmmse(sources.training, self.pictures)
