"""Operators that are not linear: derivatives, the initial image, chains, and the approximate posterior of a field."""

import pytest
import torch
from support.sound import Curve, Response

from invkit.core.errors import RecipeError, Unavailable, to_user_error
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradations import Compose, Mixture
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.laplace import LaplacePosterior, posterior_of
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.given import in_pixel_units
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.base import Operator, linear
from invkit.physics.operators.composed import Chained
from invkit.physics.operators.linearised import Linearised
from invkit.physics.operators.separable import Separable

GRID = Grid(4, 5, 1)
FIELD = MaternField(std=0.6, length=0.5, exponent=2.5)


def curve(count=3, gain=1.0):
    return Curve(torch.linspace(0.7, 1.0, count).view(-1, 1, 1, 1) * gain, GRID)


def blur(count=3):
    return Separable(count, GRID, rows=(torch.eye(4) / 2 + torch.ones(4, 4) / 8)[None].double())


def random(label, count=3, shape=GRID.picture):
    return Keys.of(0, "nonlinear", range(count)).normal(label, *shape).double() / 2


CASES = {"curve": curve(), "chain": Chained((blur(), curve())), "linear": blur(), "twice": Chained((curve(), curve()))}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_finite_differences(name):
    operator, x, u, v = CASES[name], random("x"), random("u"), random("v")
    change = (operator.forward(x + 1e-6 * u) - operator.forward(x - 1e-6 * u)) / 2e-6
    torch.testing.assert_close(operator.jvp(x, u), change, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close((operator.vjp(x, v) * u).sum(), (v * change).sum(), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(Operator.vjp(operator, x, v), operator.vjp(x, v))
    torch.testing.assert_close(Operator.jvp(operator, x, u), operator.jvp(x, u))
    assert not operator.vjp(x, v).requires_grad and not operator.jvp(x, u).requires_grad


@pytest.mark.parametrize("name", CASES)
def test_the_initial_image_fits_the_data(name):
    operator, x = CASES[name], random("x")
    y = operator.forward(x)
    for start in (None, torch.full((1, 4, 5), 0.2, dtype=torch.float64)):
        found = operator.initial(y, start)
        assert float((operator.forward(found) - y).norm() / y.norm()) < 0.02
    alone = operator[1:2].initial(y[1:2])
    torch.testing.assert_close(alone, operator.initial(y)[1:2])


def test_the_linearised_operator_is_the_adjoint_pair_of_the_derivative():
    operator, x, u, v = curve(), random("x"), random("u"), random("v")
    j = Linearised((operator,), x)
    left = operator.range_weight * (j.forward(u) * v).sum()
    torch.testing.assert_close(left, GRID.area * (u * j.adjoint(v)).sum())
    torch.testing.assert_close(j[1:].forward(u[1:]), j.forward(u)[1:])


def test_the_approximate_posterior_of_a_linear_operator_is_the_exact_one():
    keys = Keys.of(0, "laplace", range(3))
    m = measure(blur(), FIELD.sample(keys, GRID).double(), Noise(sigma=0.1), keys)
    exact, found = GaussianPosterior(FIELD, m, tolerance=1e-6), LaplacePosterior(FIELD, m)
    std = exact.variance(keys.child("v"), 512).sqrt()
    assert float(((found.mean() - exact.mean()) / std).abs().max()) < 0.1
    pair = [p.sample(keys.child("s"), 4) for p in (exact, found)]
    assert float(((pair[0] - pair[1]) / std).abs().max()) < 0.2
    assert isinstance(posterior_of(FIELD, m), GaussianPosterior)


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_estimate_maximises_the_posterior_density(gain):
    keys = Keys.of(0, "laplace", range(3))
    m = measure(curve(gain=gain), FIELD.sample(keys, GRID).double(), Noise(sigma=0.1), keys)
    x = posterior_of(FIELD, m).mean()
    columns = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    precision = torch.linalg.inv(FIELD.covariance(columns, GRID).flatten(1))

    def density(x):
        misfit = (m.y - m.operator.forward(x)).square().flatten(1).sum(1) / 0.1**2
        return -(misfit + torch.einsum("bi,ij,bj->b", x.flatten(1), precision, x.flatten(1))) / 2

    best = density(x)
    for k in range(20):
        for step in (-0.05, 0.05):
            assert bool((density(x + step * FIELD.sample(keys.child(f"{k}"), GRID)) < best + 1e-2).all())


def test_what_requires_linearity_says_so():
    with pytest.raises(Unavailable, match="pinv requires a linear operator, and Curve is not linear"):
        linear(curve(), "pinv")
    error = to_user_error(Unavailable("pinv requires"))
    assert isinstance(error, RecipeError) and error.exit_code == 2
    with pytest.raises(ValueError, match=r"mixture: of.0 requires a linear operator, and Curve"):
        Mixture(of=(Response(),)).sample(Keys.of(0, "m", [0]), GRID)
    with pytest.raises(ValueError, match="Curve is not linear: give y as measured from images"):
        in_pixel_units(curve(), random("y"), 0.0, 1.0)
    assert torch.equal(in_pixel_units(curve(), random("y"), -1.0, 1.0), random("y"))


def test_compositions_may_contain_them():
    operator = Compose(of=(Response(), Response(least=1.0))).sample(Keys.of(0, "c", range(2)), GRID)
    x = random("x", 2)
    assert isinstance(operator, Chained) and operator.range_shape == GRID.picture
    torch.testing.assert_close(operator.forward(x), operator.operators[1].forward(operator.operators[0].forward(x)))
    assert repr(operator) == "Chained(2 on 4x5)"
