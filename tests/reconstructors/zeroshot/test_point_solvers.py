"""`red-diff` and `pnp-hqs` against what they converge to on a Gaussian field, by dense matrices."""

import pytest
import torch
from support.exact_prior import MATERN

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import WhiteField
from invkit.physics.measurement import Measurement, Noise
from invkit.physics.noise import NOISES
from invkit.physics.operators.separable import Separable
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior
from invkit.reconstructors.zeroshot.base import Draws, Levels, PointZeroShot

GRID, SIGMA = Grid(6, 6, 1), 0.2
STEPS = {"pnp-hqs": 150, "red-diff": 400}
SHARE = {
    "pnp-hqs": 0.3,
    "red-diff": 0.75,
}  # of the error of the pseudo-inverse that is left; Adam has few steps at low levels
PRIOR = FieldPrior(MATERN, WhiteField(std=0.5, reference=6))


class Silent(FieldPrior):
    """Without noise, so that an iteration has a limit."""

    def noise(self, keys, grid, label):
        return torch.zeros(len(keys), *grid.picture)


def blurred():
    """One image, averaged along both axes, every second row kept."""
    row = (0.6 * torch.eye(6) + 0.3 * torch.ones(5).diag(1)).double()
    operator = Separable(1, GRID, rows=row[None, ::2], columns=row[None])
    x = MATERN.sample(Keys.of(0, "x", [0]), GRID)
    return Measurement(operator, operator.forward(x), noise=Noise(sigma=SIGMA))


def posterior_mean(m, extra, factor, variance):
    """For the prior covariance `(S + extra) / factor` and noise of a variance."""
    unit = torch.eye(GRID.pixels, dtype=torch.float64).view(-1, *GRID.picture)
    s = (MATERN.covariance(unit, GRID).flatten(1) + extra * unit.flatten(1)) / factor
    a = m.operator.repeat(GRID.pixels).forward(unit).flatten(1).T
    return (s @ a.T @ torch.linalg.solve(a @ s @ a.T + variance * torch.eye(len(a)), m.y.double().flatten())).view(
        1, *GRID.picture
    )


def estimate(name, m, level, steps=150, **settings):
    """Many steps at one noise level."""
    solver = SOLVERS[name].model_validate({"prior": "exact", **settings})
    levels = torch.tensor([level] * steps + [0.0], dtype=torch.float64)
    draws = Draws(Silent(MATERN, PRIOR.field), Keys.of(0, "d", [0]), GRID)
    return solver.walk(draws.prior, m, draws, levels)


@pytest.mark.parametrize("weight", [1.0, 0.23])
def test_pnp_hqs_tends_to_a_posterior_mean(weight):
    m, s2 = blurred(), (0.4 * PRIOR.noise_std(GRID)) ** 2
    expected = PRIOR.denoise(posterior_mean(m, s2, weight, SIGMA**2).float(), 0.4)
    torch.testing.assert_close(estimate("pnp-hqs", m, 0.4, strength=weight), expected, rtol=0, atol=1e-3)
    assert float((estimate("pnp-hqs", m, 0.4, strength=2 * weight) - expected).abs().max()) > 1e-2


@pytest.mark.parametrize(
    ("balance", "weight"), [("bayes", 1.0), pytest.param("published", 0.25, marks=pytest.mark.slow)]
)
def test_red_diff_tends_to_a_posterior_mean(balance, weight):
    m, s2 = blurred(), (0.4 * PRIOR.noise_std(GRID)) ** 2
    expected = posterior_mean(m, s2, 1.0, SIGMA**2 if balance == "bayes" else weight * s2).float()
    found = estimate("red-diff", m, 0.4, 600, balance=balance, weight=weight)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert float((estimate("red-diff", m, 0.4, 600, balance=balance, weight=2 * weight) - expected).abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["pnp-hqs", "red-diff"])
def test_with_falling_levels_the_posterior_mean_is_reached_image_by_image(name):
    m = blurred()
    levels = Levels(sigma_max=4, sigma_min=0.02)
    row = PointZeroShot(SOLVERS[name].model_validate({"prior": "exact", "calls": STEPS[name], "levels": levels}), PRIOR)
    assert (row.readouts, row.nfe("point")) == (("point",), STEPS[name])
    found, exact = row.mean(m), posterior_mean(m, 0.0, 1.0, SIGMA**2).float()
    scale = float((exact - m.operator.pinv(m.y)).square().mean().sqrt())
    assert float((found - exact).square().mean().sqrt()) < SHARE[name] * scale
    torch.testing.assert_close(row.mean(m.repeat(3))[2:], found, rtol=0, atol=1e-4)


def test_other_noise_is_for_red_diff_alone():
    m = blurred()
    counts = Measurement(m.operator, m.y, noise=NOISES["poisson"](peak=20.0))
    rows = {
        name: PointZeroShot(SOLVERS[name].model_validate({"prior": "exact"}), PRIOR) for name in ("pnp-hqs", "red-diff")
    }
    assert bool(rows["red-diff"].mean(counts).isfinite().all())
    with pytest.raises(Unavailable, match="Gaussian"):
        rows["pnp-hqs"].mean(counts)
