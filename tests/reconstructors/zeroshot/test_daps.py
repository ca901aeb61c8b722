"""The draw given the data and the probability-flow ODE against closed forms."""

import pytest
import torch
from support.exact_prior import MATERN, NOISE, last_step

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField, WhiteField, dct, idct
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior
from invkit.reconstructors.zeroshot.base import Draws

GRID, COUNT, SIGMA = Grid(3, 4, 1), 6000, 0.4
EYE = torch.eye(12, dtype=torch.float64).view(12, 1, 3, 4)
ROWS = torch.tensor([[[0.5, 0.5, 0], [0, 0.3, 0.7]]], dtype=torch.float64)
OPERATORS = {
    "mask": Mask(Keys.of(0, "m", [0]).uniform("m", 1, 3, 4) < 0.4, 1),
    "separable": Separable(1, GRID, rows=ROWS, columns=torch.ones(1, 1, 4, dtype=torch.float64) / 4),
}


class FromTheMean(Draws):
    """No noise at the start."""

    def __call__(self, label):
        return super().__call__(label) * (label != "start")


@pytest.mark.parametrize("sigma_y", [0.0, 0.1])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_image_given_the_data_is_drawn_exactly(name, sigma_y):
    """From the density proportional to N(x; u, r^2) N(y; A x, sigma_y^2), with u = 0."""
    operator, keys = OPERATORS[name], Keys.of(0, "d", [0])
    prior = FieldPrior(WhiteField(std=0.5, reference=3), WhiteField(reference=3))
    m = measure(operator, MATERN.sample(keys, GRID).double(), Noise(sigma=sigma_y), keys)
    solver = SOLVERS["daps"].model_validate({"prior": "exact", "spread": 0.9})
    draws = FromTheMean(prior, Keys.of(1, "draws", [0]).fork(COUNT), GRID)
    x = solver.walk(prior, m.repeat(COUNT), draws, torch.tensor([SIGMA, 0.0], dtype=torch.float64)).flatten(1).double()
    a, r2 = operator.repeat(12).forward(EYE).flatten(1).T, (0.9 * SIGMA) ** 2
    gain = r2 * a.T @ torch.linalg.pinv(r2 * a @ a.T + sigma_y**2 * torch.diag((a.abs().sum(1) > 0).double()))
    covariance = r2 * (torch.eye(12) - gain @ a)
    error = (x.mean(0) - gain @ m.y.flatten().double()).square().mean().sqrt() / (r2 / COUNT) ** 0.5
    assert float(error) < 1.5
    assert float((x.T.cov() - covariance).norm() / covariance.norm()) < 0.06


@pytest.mark.parametrize("field", [NOISE, MaternField(length=0.15, exponent=1.5)], ids=["white", "coloured"])
def test_the_flow_keeps_the_distribution_of_images(field):
    """In every mode it divides the standard deviation of the noisy image by that of the clean one."""
    nothing, n = Mask(torch.zeros(2, 1, 3, 4, dtype=torch.bool), 1), field.sample(Keys.of(0, "n", range(2)), GRID, "n")
    m = measure(nothing, torch.zeros(2, 1, 3, 4), Noise(sigma=0.1), Keys.of(0, "y", range(2)))
    found = last_step("daps", FieldPrior(MATERN, field), m, SIGMA, n, spread=1e-6, ode_steps=200, calls=200)
    s, l = (f.spectrum(GRID)[0, 0] for f in (MATERN, field))
    want = idct((s / (s + SIGMA**2 * l)).sqrt() * dct(SIGMA * n.double()))
    torch.testing.assert_close(found.double(), want, rtol=0, atol=0.02 * float(want.abs().max()))
    one = last_step("daps", FieldPrior(MATERN, field), m, SIGMA, n, spread=1e-6)
    torch.testing.assert_close(one, FieldPrior(MATERN, field).denoise(SIGMA * n, SIGMA), rtol=0, atol=1e-5)
