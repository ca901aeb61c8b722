"""Zero-shot solvers over the exact denoiser of a Gaussian field, beside its posterior in closed form."""

import pytest
import torch
from exactprior import NOISE, GaussianPrior

from invkit.degradation import Noise, measure
from invkit.field import MaternField
from invkit.gaussian import GaussianPosterior
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import Mask
from invkit.reconstruct.zeroshot import SOLVERS, ZeroShot
from invkit.separable import Separable

GRID = Grid(12, 12, 1)
MATERN = MaternField(std=0.5, length=0.3, exponent=2.0)
IDS = range(2)
BATCH = len(IDS)


def mask(grid=GRID, share=0.2, ids=IDS):
    order = Keys.of(0, "mask", ids).permutation("p", grid.pixels)
    return Mask((order < round(share * grid.pixels)).view(-1, 1, *grid.shape), grid.channels)


def blur(grid=GRID, batch=BATCH):
    rows, columns = (torch.eye(n, dtype=torch.float64) * 0.6 for n in grid.shape)
    for m in (rows, columns):
        m += torch.diag(torch.full((len(m) - 1,), 0.3, dtype=torch.float64), 1)
    return Separable(batch, grid, rows=rows[None, ::2], columns=columns[None])


def observe(operator, sigma, data=MATERN, ids=IDS):
    keys = Keys.of(1, "picture", ids)
    return measure(operator, data.sample(keys, operator.grid), Noise(sigma=sigma), keys)


def solver(name, **settings):
    return SOLVERS[name](prior="somewhere", **settings)


def draws(measurement, name, count=96, data=MATERN, field=NOISE, prior=None, **settings):
    row = ZeroShot(solver(name, **settings), prior or GaussianPrior(data, field))
    return row.sample(measurement, Keys.of(2, "draws", range(len(measurement))), count)


def misses(samples, measurement, data=MATERN):
    """Over all pixels: the error of the mean in posterior deviations, and the ratio of variances."""
    posterior = GaussianPosterior(data, measurement)
    mean = posterior.mean()
    variance = posterior.variance(Keys.of(3, "v", range(len(measurement))), 256)
    error = (samples.mean(0) - mean).square().sum() / variance.sum()
    return float(error.sqrt()), float(samples.var(0).sum() / variance.sum())


@pytest.mark.parametrize("name", SOLVERS)
def test_x(name):
    for sigma in (0.0, 0.1):
        m = observe(mask(), sigma)
        print(name, sigma, misses(draws(m, name), m))
    if name != "repaint":
        m = observe(blur(), 0.1)
        print(name, "blur", misses(draws(m, name), m))
