"""The exact denoiser of a Gaussian posterior, and samplers run on it with mean and covariance propagated exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.samplers import Sampler
from invkit.physics.gaussian import GaussianField, MaternField, WhiteField, dct, idct

FIELD = MaternField(std=0.8, length=0.3, exponent=2.0)
NOISES: dict[str, GaussianField] = {
    "white": WhiteField(std=1.0, reference=16),
    "coloured": MaternField(std=1.0, length=0.15, exponent=1.5),
}
SIGMA = 0.05  # of the measured values


@dataclass(frozen=True, eq=False)
class Exact:
    """One image observed at a tenth of its cells: `E[x0 | y, x0 + s n]` by n-by-n solves in the noise-damped spectrum."""

    grid: Grid
    data: GaussianField
    noise: GaussianField
    points: Tensor  # (n,)
    y: Tensor  # (n,)

    @classmethod
    def of(cls, grid: Grid, noise: GaussianField, data: GaussianField = FIELD, seed: int = 0) -> "Exact":
        keys = Keys.of(seed, "exact", [0])
        points = keys.permutation("points", grid.pixels)[0, : round(0.1 * grid.pixels)]
        x = data.sample(keys, grid)[0, 0].double().flatten()
        return cls(grid, data, noise, points, x[points] + SIGMA * keys.normal("e", len(points))[0].double())

    def linear(self, x: Tensor, sigma: float) -> Tensor:
        return self.denoise(x, sigma, 0.0)

    def _powers(self) -> tuple[Tensor, Tensor]:
        return tuple(f.spectrum(self.grid)[0, 0] / self.grid.area for f in (self.data, self.noise))  # type: ignore[return-value]

    def denoise(self, x: Tensor, sigma: float, y: Tensor | float | None = None) -> Tensor:
        """For states (B, 1, H, W) float64; with `y = 0` it is linear."""
        c, l = self._powers()
        shrunk = idct(c / (c + sigma**2 * l) * dct(x)).flatten(1)
        damped = c * sigma**2 * l / (c + sigma**2 * l)
        unit = torch.zeros(len(self.points), self.grid.pixels, dtype=torch.float64)
        unit[torch.arange(len(self.points)), self.points] = 1
        columns = idct(damped * dct(unit.view(-1, 1, *self.grid.shape))).flatten(1)  # (n, HW)
        gram = columns[:, self.points] + SIGMA**2 * torch.eye(len(self.points), dtype=torch.float64)
        missing = (self.y if y is None else y) - shrunk[:, self.points]
        return (shrunk + torch.linalg.solve(gram, missing.T).T @ columns).view_as(x)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean (HW,) and covariance (HW, HW) in closed form."""
        n = self.grid.pixels
        prior = self.data.covariance(torch.eye(n, dtype=torch.float64).view(n, 1, *self.grid.shape), self.grid)
        prior = prior.view(n, n)
        gram = prior[self.points][:, self.points] + SIGMA**2 * torch.eye(len(self.points), dtype=torch.float64)
        gain = torch.linalg.solve(gram, prior[self.points]).T
        return gain @ self.y, prior - gain @ prior[self.points]

    def root(self) -> Tensor:
        """Columns R (HW, 1, H, W) with R R^T the covariance of the noise."""
        n = self.grid.pixels
        return self.noise.root(torch.eye(n, dtype=torch.float64).view(n, 1, *self.grid.shape), self.grid)


def propagate(method: Sampler, exact: Exact, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (HW,) and covariance of the samples of a one-step sampler: steps are affine in state and independent noises."""
    root, n = exact.root(), exact.grid.pixels
    eye = torch.eye(n, dtype=torch.float64).view(n, 1, *exact.grid.shape)
    mean, covariance = torch.zeros(1, 1, *exact.grid.shape, dtype=torch.float64), float(levels[0]) ** 2 * _outer(root)
    for i in range(len(levels) - 1):
        labels: list[str] = []

        def silent(label: str, labels: list[str] = labels) -> Tensor:
            labels.append(label)
            return torch.zeros(1, 1, *exact.grid.shape, dtype=torch.float64)

        mean = method.walk(exact.denoise, silent, levels[i : i + 2], mean)
        units = torch.cat([eye, torch.zeros(len(labels) * n, 1, *exact.grid.shape, dtype=torch.float64)])

        def unit(label: str, labels: list[str] = labels, units: Tensor = units) -> Tensor:
            out, place = torch.zeros_like(units), 1 + labels.index(label)
            out[place * n : (place + 1) * n] = root
            return out

        columns = method.walk(exact.linear, unit, levels[i : i + 2], units).flatten(1)
        step, kicks = columns[:n], columns[n:]
        covariance = step.T @ covariance @ step + kicks.T @ kicks
    return mean.flatten(), covariance


def transport(method: Sampler, exact: Exact, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The same for a sampler whose only noise is its initial state; it may be a multistep method."""
    silent = torch.zeros(1, 1, *exact.grid.shape, dtype=torch.float64)
    mean = method(exact.denoise, lambda label: silent, levels)
    return mean.flatten(), _outer(method(exact.linear, lambda label: exact.root(), levels))


def _outer(columns: Tensor) -> Tensor:
    return columns.flatten(1).T @ columns.flatten(1)


def errors(moments: tuple[Tensor, Tensor], exact: Exact) -> tuple[float, float]:
    """Relative errors of mean and covariance against the closed form."""
    m, c = exact.posterior()
    return float((moments[0] - m).norm() / m.norm()), float((moments[1] - c).norm() / c.norm())
