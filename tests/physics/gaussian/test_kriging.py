"""Masks by small factors: seen or hidden pixels, against the dense closed form."""

import pytest
import torch
from support.dense import FIELD, closed_form

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import FittedField, MaternField, SquaredExponentialField
from invkit.physics.gaussian.kriging import (
    ByGroup,
    ByHidden,
    ByObserved,
    dense_kriging,
    inverted,
    precision_of,
    solvable,
    squares,
)
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask


def masked(counts: list[int], grid: Grid, sigma: float = 0.0) -> tuple[Measurement, torch.Tensor]:
    """Masks that show so many pixels, in float64, and their matrices."""
    keys = Keys.of(0, "kriging", range(len(counts)))
    seen = keys.permutation("p", grid.pixels) < torch.tensor(counts)[:, None]
    operator = Mask(seen.view(-1, 1, *grid.shape), grid.channels)
    x = FIELD.sample(keys, grid).double()
    y = measure(operator, x, Noise(sigma=sigma), keys).y.double()
    flat = operator.observed.expand(-1, grid.channels, -1, -1).flatten(1)
    return Measurement(operator, y, sigma), torch.diag_embed(flat.double())


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ([9, 14, 11], ByObserved),
        ([35, 30, 41], ByHidden),
        ([9, 33, 12, 40], ByGroup),
        ([42, 42], ByHidden),
        ([0, 4], ByObserved),
        ([0, 0], ByObserved),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_covariance_against_the_closed_form(counts, kind, channels):
    grid = Grid(6, 7, channels)
    measurement, matrices = masked(counts, grid)
    assert type(dense_kriging(FIELD, measurement)) is kind
    posterior = GaussianPosterior(FIELD, measurement)
    means, covariances = closed_form(FIELD, measurement, matrices)
    scale = float(means.abs().max())
    torch.testing.assert_close(posterior.mean(), means, rtol=0, atol=1e-3 * scale)  # the nugget of the observed form
    variances = torch.stack([c.diagonal().view(grid.picture) for c in covariances])
    torch.testing.assert_close(posterior.variance(), variances, rtol=0, atol=2e-3)
    if kind is ByHidden:  # no nugget
        torch.testing.assert_close(posterior.variance(), variances, rtol=0, atol=1e-5)
        torch.testing.assert_close(measurement.paste(posterior.mean()), posterior.mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("counts", [[9, 14, 11], [35, 30, 41], [9, 33, 12, 40], [1, 41], [0, 4]])
def test_misfit_is_that_of_each_value_left_out_and_kriged(counts, sigma):
    """Against solves without the value, one by one; `r` stands for two pictures' worth of values."""
    grid = Grid(6, 7, 1)
    measurement, _ = masked(counts, grid, sigma)
    r = torch.stack([measurement.y, 2 * measurement.y.roll(1, 0) * measurement.observed])
    matrix = torch.stack(
        [FIELD.covariance(e, grid) for e in torch.eye(42, dtype=torch.float64).view(42, 1, 6, 7)]
    ).view(42, 42)
    expected = []
    for i, seen in enumerate(measurement.observed.flatten(1)):
        squares = []
        for j in seen.nonzero()[:, 0].tolist():
            others = seen.clone()
            others[j] = False
            gain = torch.linalg.solve(
                matrix[others][:, others] + sigma**2 * torch.eye(int(others.sum())), matrix[others, j]
            )
            error = r[:, i].flatten(1)[:, j] - r[:, i].flatten(1)[:, others] @ gain
            squares.append(error.square() / (matrix[j, j] + sigma**2 - matrix[j, others] @ gain))
        expected.append(torch.stack(squares).mean().sqrt() if squares else torch.tensor(1.0, dtype=torch.float64))
    posterior = GaussianPosterior(FIELD, measurement)
    torch.testing.assert_close(posterior.loo_error(posterior.weights(r)), torch.stack(expected), rtol=2e-3, atol=0)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("count", [60, 200])
def test_weights_tell_what_another_law_would_make_of_the_picture(count, sigma):
    """The first order of the mean in a change of the law: a convolution of the weights, less its kriging."""
    grid = Grid(16, 16)
    measurement, _ = masked([count, count + 9], grid, sigma)
    other = FIELD.model_copy(update={"exponent": FIELD.exponent + 1e-3})
    one, two = GaussianPosterior(FIELD, measurement), GaussianPosterior(other, measurement)
    weights = one.weights(measurement.y[None])
    torch.testing.assert_close(FIELD.covariance(weights, grid), one.gain(measurement.y[None]), rtol=0, atol=1e-4)
    change = other.covariance(weights, grid) - FIELD.covariance(weights, grid)
    expected = (change - one.gain(change * measurement.observed))[0]
    apart = two.mean() - one.mean()
    assert float((apart - expected).norm() / apart.norm()) < 0.01


def test_misfit_is_one_for_draws_of_the_field_and_follows_their_contrast():
    measurement, _ = masked([150] * 40, Grid(20, 20))
    posterior = GaussianPosterior(FIELD, measurement)
    once, thrice = (posterior.loo_error(posterior.weights(c * measurement.y[None])) for c in (1, 3))
    assert float(once.square().mean()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(thrice, 3 * once)


def test_float32_is_good_enough():
    measurement, _ = masked([300, 301], Grid(20, 20))
    single = Measurement(measurement.operator, measurement.y.float())
    exact, got = (GaussianPosterior(FIELD, m) for m in (measurement, single))
    assert got.mean().dtype == torch.float32
    torch.testing.assert_close(got.mean().double(), exact.mean(), rtol=0, atol=1e-5)
    pairs = ((exact, measurement), (got, single))
    misfits = [posterior.loo_error(posterior.weights(m.y[None])).double() for posterior, m in pairs]
    torch.testing.assert_close(*misfits, rtol=1e-3, atol=0)


def test_the_batch_changes_nothing():
    measurement, _ = masked([9, 33, 12, 40], Grid(6, 7))
    whole, keys = GaussianPosterior(FIELD, measurement), Keys.of(0, "draws", range(4))
    for i in range(4):
        one = slice(i, i + 1)
        alone = GaussianPosterior(FIELD, measurement[one])
        torch.testing.assert_close(alone.mean(), whole.mean()[one], rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.sample(keys[one], 2), whole.sample(keys, 2)[:, one], rtol=0, atol=1e-5)


def test_a_precision_is_the_inverse():
    grid = Grid(5, 4)
    precision, eye = precision_of(FIELD, grid), torch.eye(grid.pixels * 3, dtype=torch.float64).view(-1, *grid.picture)
    both = precision.covariance(FIELD.covariance(eye, grid), grid)
    torch.testing.assert_close(both, eye, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "field", [SquaredExponentialField(length=0.5), MaternField(padding=0.5)], ids=["too smooth", "a margin"]
)
def test_fields_without_one_are_solved_at_what_is_seen(field):
    measurement, _ = masked([30, 33], Grid(6, 7))
    assert precision_of(field, measurement.grid) is None
    assert type(dense_kriging(field, measurement)) is ByObserved


def test_a_fitted_field_has_one():
    x = MaternField(exponent=1.3).sample(Keys.of(0, "fit", range(64)), Grid(12, 12))
    assert precision_of(FittedField.fit(x, Grid(12, 12)), Grid(12, 12)) is not None


def test_a_large_batch_is_solved_in_parts(monkeypatch):
    measurement, _ = masked([9, 14, 11, 10, 12], Grid(6, 7, 3))
    whole = GaussianPosterior(FIELD, measurement)
    monkeypatch.setattr("invkit.physics.gaussian.kriging.AT_ONCE", 2 * 14 * 3 * 6 * 7 * 3)
    parts = dense_kriging(FIELD, measurement)
    assert isinstance(parts, ByGroup) and [len(places) for places, _ in parts.parts] == [2, 2, 1]
    again = GaussianPosterior(FIELD, measurement)
    torch.testing.assert_close(again.mean(), whole.mean(), rtol=0, atol=1e-9)
    torch.testing.assert_close(again.variance(), whole.variance(), rtol=0, atol=1e-9)


def test_what_is_solved_is_bounded_by_values_and_by_memory():
    assert solvable(1638, Grid(128, 128, 1))
    assert not solvable(4097, Grid(96, 96, 1))
    assert not solvable(4096, Grid(256, 256, 1))


@pytest.mark.parametrize("n", [1, 3, 64, 65, 200])
def test_triangular_matrices_are_inverted_and_applied(n):
    keys = Keys.of(0, "tri", range(2))
    lower = (keys.normal("l", n, n).double().tril(-1) / n) + torch.eye(n)
    columns = keys.normal("c", n, 7).double()
    torch.testing.assert_close(inverted(lower) @ lower, torch.eye(n).double().expand(2, n, n), rtol=0, atol=1e-12)
    torch.testing.assert_close(squares(lower, columns), (lower @ columns).square().sum(1))
