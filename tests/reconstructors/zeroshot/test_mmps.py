"""Moments of `x_0` given x and y against dense linear algebra."""

import pytest
import torch
from support.exact_prior import MATERN, NOISE, last_step

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable
from invkit.reconstructors.zeroshot import FieldPrior
from invkit.reconstructors.zeroshot import prior as priors
from invkit.reconstructors.zeroshot.mmps import Matched

GRID, SIGMA = Grid(4, 5, 1), 0.7
EYE = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
KEYS = Keys.of(0, "m", range(2))
ROWS = torch.tensor([[[0.5, 0.5, 0, 0], [0, 0, 0.3, 0.7]]], dtype=torch.float64)
OPERATORS = {
    "mask": Mask(KEYS.uniform("m", 1, 4, 5) < 0.3, 1),
    "separable": Separable(2, GRID, rows=ROWS, columns=torch.ones(1, 1, 5, dtype=torch.float64) / 5),
}
FIELDS = {"white": WhiteField(std=0.7, reference=4), "matern": MaternField(length=0.15, exponent=1.5)}


@pytest.mark.parametrize("sigma_y", [0.0, 0.2])
@pytest.mark.parametrize("noise", FIELDS)
@pytest.mark.parametrize("name", OPERATORS)
def test_with_enough_products_a_gaussian_prior_is_exact(name, noise, sigma_y):
    operator, field = OPERATORS[name], FIELDS[noise]
    m = measure(
        operator, MATERN.sample(Keys.of(1, "x", range(2)), GRID).double(), Noise(sigma=sigma_y), KEYS.child("y")
    )
    n = field.sample(Keys.of(2, "n", range(2)), GRID, "n").double()
    prior = FieldPrior(MATERN, field)
    found = Matched.of(prior, m, SIGMA * n, SIGMA, 20)
    guided = found.clean + SIGMA**2 * prior.covariance(found.gradient)
    s, c = (f.covariance(EYE, GRID).view(20, 20) for f in (MATERN, field))
    for i in range(2):
        a = operator[i : i + 1].repeat(20).forward(EYE).flatten(1).T
        v = s - s @ torch.linalg.inv(s + SIGMA**2 * c) @ s  # covariance of x_0 given x
        clean = s @ torch.linalg.inv(s + SIGMA**2 * c) @ (SIGMA * n[i].flatten())
        k, r = a @ v @ a.T + sigma_y**2 * torch.eye(len(a)), m.y[i].flatten() - a @ clean
        w = torch.linalg.pinv(k) @ r
        torch.testing.assert_close(guided[i].flatten(), clean + v @ a.T @ w, rtol=0, atol=1e-6)
        assert float(found.mahalanobis[i]) == pytest.approx(float(r @ w), rel=1e-6)
    step = last_step("mmps", prior, m, SIGMA, n, products=20)
    torch.testing.assert_close(step, guided, rtol=0, atol=1e-9)
    assert float((last_step("mmps", prior, m, SIGMA, n, products=1) - guided).abs().max()) > 1e-3


def test_products_are_made_with_one_call(monkeypatch):
    made = []

    def counting(prior, x, sigma):
        clean, vjp = denoise_with_vjp(prior, x, sigma)
        made.append("D")
        return clean, lambda v: made.append("J") or vjp(v)

    denoise_with_vjp = priors.denoise_with_vjp
    monkeypatch.setattr("invkit.reconstructors.zeroshot.mmps.denoise_with_vjp", counting)
    m = measure(OPERATORS["mask"], MATERN.sample(Keys.of(1, "x", range(2)), GRID), Noise(sigma=0.2), KEYS.child("z"))
    last_step("mmps", FieldPrior(MATERN, NOISE), m, SIGMA, torch.zeros(2, 1, 4, 5), products=3)
    assert made == ["D", "J", "J", "J"]
