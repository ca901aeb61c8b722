"""Single steps of guided solvers against what they approximate, and the damped least squares behind them."""

import pytest
import torch
from support.exact_prior import GaussianPrior

from invkit.compose import Composed
from invkit.convolution import Convolution
from invkit.degradation import Measurement, Noise, measure
from invkit.field import MaternField, WhiteField, resample
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import LinearOperator, Mask
from invkit.reconstruct.zeroshot import SOLVERS
from invkit.reconstruct.zeroshot.ridge import ridge
from invkit.separable import Separable

MATERN = MaternField(std=0.5, length=0.3, exponent=2.0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


GRID = Grid(5, 6, 2)
OPERATORS: dict[str, LinearOperator] = {
    "mask": Mask(random(2, 2, 5, 6) > 0.3),
    "separable": Separable(2, GRID, color=random(2, 1, 2), rows=random(1, 4, 5)),
    "convolution": Convolution.of(2, GRID, random(1, 5, 6)),
    "composed": Composed((Separable(2, GRID, rows=random(1, 4, 5)), Mask(random(2, 1, 4, 6) > 0.3, 2))),
}


def matrix(operator, item):
    one, size = operator[item : item + 1], GRID.pixels * GRID.channels
    columns = torch.eye(size, dtype=torch.float64).view(size, *GRID.picture)
    return one.repeat(size).forward(columns).flatten(1).T


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_ridge_against_dense_solutions(name, damping, monkeypatch):
    monkeypatch.setattr("invkit.reconstruct.zeroshot.ridge.TOLERANCE", 1e-10)
    operator = OPERATORS[name]
    r = operator.forward(random(2, *GRID.picture)) + 0.1 * operator.measured(random(2, *operator.range_shape))
    found = ridge(operator, r, damping)
    for i in range(2):
        a = matrix(operator, i)
        want = (
            torch.linalg.pinv(a, rtol=1e-10)
            if damping == 0
            else a.T @ torch.linalg.inv(a @ a.T + damping * torch.eye(len(a)))
        )
        near = 2e-3 if name == "composed" and damping == 0 else 1e-8  # its pseudo-inverse is iterative
        torch.testing.assert_close(found[i].flatten(), want @ r[i].flatten(), rtol=near, atol=near)


@pytest.mark.parametrize("name", ["mask", "separable", "convolution"])
def test_functions_of_an_operator_against_a_decomposition(name):
    operator, x = OPERATORS[name], random(2, *GRID.picture)
    found = operator.spectral(lambda s: torch.exp(-s) + (s == 0), x)
    assert found is not None and found.dtype == x.dtype
    assert operator.spectral(torch.ones_like, x.float()).dtype == torch.float32
    for i in range(2):
        _, s, vh = torch.linalg.svd(matrix(operator, i))
        s = torch.cat([s, s.new_zeros(len(vh) - len(s))])
        want = vh.T @ torch.where(s > 1e-10, torch.exp(-s), 2.0).diag() @ vh
        torch.testing.assert_close(found[i].flatten(), want @ x[i].flatten(), rtol=0, atol=1e-9)
    assert OPERATORS["composed"].spectral(torch.ones_like, x) is None


def last_step(name, prior, measurement, sigma, noise, **settings):
    """A walk of one step, from sigma to zero."""
    levels = torch.tensor([sigma, 0.0], dtype=torch.float64)
    return (
        SOLVERS[name].model_validate({"prior": "exact", **settings}).walk(prior, measurement, lambda _: noise, levels)
    )


@pytest.mark.parametrize("sigma_y", [0.0, 0.3])
@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_pigdm_knows_white_pictures_exactly(sigma, sigma_y):
    """`E[x_0 | x, y]` pixel by pixel."""
    grid, keys = Grid(8, 8, 1), Keys.of(0, "w", range(2))
    law, field = WhiteField(std=0.5, reference=8), WhiteField(std=0.7, reference=8)
    m = measure(Mask(keys.uniform("m", 1, 8, 8) < 0.4, 1), law.sample(keys, grid), Noise(sigma=sigma_y), keys)
    n = field.sample(keys, grid, "n")
    precision, weighted = 1 / 0.25 + 1 / (0.7 * sigma) ** 2, sigma * n / (0.7 * sigma) ** 2
    hidden = weighted / precision
    seen = (weighted + m.y / sigma_y**2) / (precision + sigma_y**-2) if sigma_y else m.y
    want = torch.where(m.operator.observed, seen, hidden)
    torch.testing.assert_close(last_step("pigdm", GaussianPrior(law, field), m, sigma, n), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "field", [WhiteField(reference=16), MaternField(length=0.15, exponent=1.5)], ids=["white", "matern"]
)
def test_one_step_of_dps_means_the_same_on_every_grid(field):
    moved = {}
    for n in (16, 32):
        grid, keys = Grid(n, n, 1), Keys.of(0, "g", range(2))
        rows = torch.eye(4, dtype=torch.float64).repeat_interleave(n // 4, 1)[None] * 4 / n
        operator = Separable(2, grid, rows=rows, columns=rows)
        m = measure(operator, MATERN.sample(keys, grid), Noise(sigma=0), keys)
        prior, noise = GaussianPrior(MATERN, field), field.sample(keys, grid, "n")
        step = last_step("dps", prior, m, 0.5, noise, step=1.0) - prior.denoise(0.5 * noise, 0.5)
        moved[n] = resample(step, (16, 16))
    assert float((moved[16] - moved[32]).norm() / moved[16].norm()) < 0.05
    assert float(moved[16].square().mean().sqrt()) > 0.1


def test_a_step_of_dps_is_the_gradient_of_the_misfit():
    """Against differences along pixels, in float64, for white noise, whose C is the identity."""
    grid, keys, s = Grid(4, 5, 1), Keys.of(0, "d", [0]), 0.5
    operator = Mask(keys.uniform("m", 1, 4, 5) < 0.5, 1)
    prior = GaussianPrior(MATERN, WhiteField(reference=4))
    y, n = operator.forward(MATERN.sample(keys, grid).double()), keys.normal("n", 1, 4, 5).double()
    unit = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5) * 1e-6

    def misfits(x):
        r = operator.repeat(20).forward(prior.denoise(x, s)) - y
        return (r.square().flatten(1).sum(1) * grid.area).sqrt()

    slope = (misfits(s * n + unit) - misfits(s * n - unit)).view(1, 1, 4, 5) / 2e-6 / grid.area
    moved = last_step("dps", prior, Measurement(operator, y), s, n, step=0.2) - prior.denoise(s * n, s)
    torch.testing.assert_close(moved, -0.2 * slope, rtol=1e-6, atol=1e-6)
