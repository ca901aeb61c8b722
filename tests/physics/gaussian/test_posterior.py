import pytest
import torch
from support.dense import FIELD, closed_form
from support.messages import raises, warns
from support.toy_operators import Sums
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import FittedField, MaternField, dct, idct
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable


def problem(kind: str, grid: Grid, sigma: float, batch: int = 3) -> tuple[Measurement, Tensor]:
    """A float64 measurement and its matrices (B, M, CHW)."""
    keys = Keys.of(0, "test", range(batch))
    if kind == "mask":
        counts = torch.tensor([9, 14, 11])[:batch, None]  # unequal, so that padding is exercised
        operator: LinearOperator = Mask(
            (keys.permutation("p", grid.pixels) < counts).view(-1, 1, *grid.shape), grid.channels
        )
        flat = operator.observed.expand(-1, grid.channels, -1, -1).flatten(1)  # type: ignore[attr-defined]
        matrices = torch.diag_embed(flat.double())
    else:
        operator = Sums(keys.normal("rows", 12, *grid.picture).double())
        matrices = operator.rows.flatten(2)
    x = FIELD.sample(keys, grid).double()
    y = measure(operator, x, Noise(sigma=sigma), keys).y.double()
    return Measurement(operator, y, sigma), matrices


@pytest.mark.parametrize("kind", ["mask", "sums"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(6, 6, 3), (5, 8, 2)])
def test_mean_against_the_closed_form(kind, sigma, shape):
    measurement, matrices = problem(kind, Grid(*shape), sigma)
    want, _ = closed_form(FIELD, measurement, matrices)
    got = GaussianPosterior(FIELD, measurement, tolerance=1e-12).mean()
    torch.testing.assert_close(got, want, rtol=0, atol=2e-4 if sigma == 0 else 1e-7)  # without noise a nugget stands in


def test_cholesky_and_conjugate_gradients_agree(monkeypatch):
    measurement, _ = problem("mask", Grid(8, 8), 0.1)
    dense = GaussianPosterior(FIELD, measurement)
    monkeypatch.setattr("invkit.physics.gaussian.kriging.DENSE_VALUES", 0)
    iterative = GaussianPosterior(FIELD, measurement, tolerance=1e-10)
    assert dense.dense and not iterative.dense
    torch.testing.assert_close(dense.mean(), iterative.mean(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["mask", "sums"])
def test_samples_have_the_posterior_mean_and_covariance(kind):
    measurement, matrices = problem(kind, Grid(4, 4, 2), 0.3, batch=1)
    mean, covariance = closed_form(FIELD, measurement, matrices)
    k = 20_000
    samples = GaussianPosterior(FIELD, measurement, tolerance=1e-6).sample(Keys.of(1, "s", [0]), k).view(k, -1)
    error = 5 / k**0.5
    assert (samples.mean(0) - mean.flatten()).abs().max() < error * covariance[0].diagonal().max() ** 0.5
    assert (torch.cov(samples.T) - covariance[0]).abs().max() < 1.5 * error * covariance[0].diagonal().max()
    # the mutant: prior draws around the mean, not conditioned, are far off
    wrong = FIELD.sample(Keys.of(1, "s", [0]).fork(k), measurement.grid).double().view(k, -1)
    assert (torch.cov(wrong.T) - covariance[0]).abs().max() > 5 * error * covariance[0].diagonal().max()


def test_a_solve_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr("invkit.physics.gaussian.kriging.DENSE_VALUES", 0)
    measurement, _ = problem("mask", Grid(8, 8), 0.0)
    with warns(2):
        GaussianPosterior(FIELD, measurement, max_steps=2).mean()


def test_a_fitted_mean_colour_is_where_nothing_is_known():
    grid = Grid(8, 8)
    field = FittedField.fit(FIELD.sample(Keys.of(0, "x", range(200)), grid) * 0.1 + 0.5, grid)
    observed = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    observed[..., 0, 0] = True
    y = torch.zeros(1, 3, 8, 8) + 0.5 * observed
    out = GaussianPosterior(field, Measurement(Mask(observed), y)).mean()
    torch.testing.assert_close(out, torch.full_like(out, 0.5), rtol=0, atol=0.05)


@pytest.mark.parametrize("shape", [(6, 6, 3), (5, 8, 2)])
def test_pointwise_variance_against_the_closed_form(shape):
    measurement, matrices = problem("mask", Grid(*shape), 0.2)
    _, covariance = closed_form(FIELD, measurement, matrices)
    got = GaussianPosterior(FIELD, measurement).variance()
    torch.testing.assert_close(got.flatten(1), covariance.diagonal(dim1=1, dim2=2), rtol=1e-6, atol=1e-8)


def test_pointwise_variance_of_other_operators_is_estimated():
    measurement, matrices = problem("sums", Grid(4, 4, 2), 0.3)
    _, covariance = closed_form(FIELD, measurement, matrices)
    got = GaussianPosterior(FIELD, measurement).variance(Keys.of(0, "v", range(3)), 2000)
    torch.testing.assert_close(got.flatten(1), covariance.diagonal(dim1=1, dim2=2), rtol=0.25, atol=1e-3)
    with raises(ValueError, "keys"):
        GaussianPosterior(FIELD, measurement).variance()
    with raises(ValueError):
        GaussianPosterior(FIELD, measurement).weights(measurement.y[None])


def test_denoising_is_solved_in_one_step_of_the_preconditioned_problem(recwarn):
    grid = Grid(32, 32)
    field = MaternField(std=0.5, length=0.25, exponent=2.5)
    x = field.sample(Keys.of(0, "x", range(2)), grid)
    y = x + 0.03 * Keys.of(0, "e", range(2)).normal("e", *grid.picture)
    got = GaussianPosterior(field, Measurement(Separable(2, grid), y, 0.03), max_steps=2).mean()
    power = field.spectrum(grid)[0, 0] / grid.area
    want = idct(power / (power + 0.03**2) * dct(y.double()))
    torch.testing.assert_close(got, want.float(), rtol=0, atol=1e-4)
    assert (got - x).square().mean() < 0.6 * (y - x).square().mean()
    assert not recwarn.list


def test_a_field_with_a_margin_has_a_posterior_too():
    measurement, matrices = problem("sums", Grid(5, 6, 2), 0.2)
    field = MaternField(std=0.8, length=0.3, padding=0.4)
    want, _ = closed_form(field, measurement, matrices)
    got = GaussianPosterior(field, measurement, tolerance=1e-12).mean()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-7)
