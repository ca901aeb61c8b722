"""Moving neighbourhoods against one factor of all values."""

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import initial_estimate
from invkit.physics.gaussian import MaternField, local_kriging
from invkit.physics.gaussian.local_kriging import LocalKriging
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask

FIELD = MaternField(std=0.5, length=0.25, exponent=1.7)
GRID = Grid(40, 51, 1)


def masked(
    kind: str, sigma: float = 0.0, grid: Grid = GRID, field: MaternField = FIELD
) -> tuple[Measurement, torch.Tensor]:
    keys = Keys.of(0, "near", range(3))
    share = torch.tensor([0.1, 0.1, 0.3]).view(-1, 1)
    seen = (keys.uniform("m", grid.pixels) < share).view(-1, 1, *grid.shape)
    if kind == "box":
        seen = torch.ones_like(seen)
        seen[:, :, 12:30, 8:28] = False
    if kind == "nothing":
        seen = torch.zeros_like(seen)
    x = field.sample(keys, grid)
    return measure(Mask(seen, grid.channels), x, Noise(sigma=sigma), keys), x


@pytest.mark.parametrize(("kind", "sigma", "nearest"), [("random", 0.0, 100), ("random", 0.2, 100), ("box", 0.0, 300)])
def test_neighbourhoods_are_nearly_all_that_counts(kind, sigma, nearest):
    measurement, x = masked(kind, sigma)
    exact, r = GaussianPosterior(FIELD, measurement), measurement.y[None]
    found = LocalKriging.of(FIELD, measurement, r, nearest=nearest)
    hidden = ~measurement.observed
    mean, deviation = exact.gain(r)[0], exact.variance().sqrt()
    apart = (found.mean[0] - mean)[hidden].square().mean().sqrt() / deviation[hidden].square().mean().sqrt()
    assert float(apart) < 0.15
    torch.testing.assert_close(found.variance.sqrt()[hidden], deviation[hidden], rtol=0.15, atol=0.01)
    torch.testing.assert_close(found.loo_error, exact.loo_error(exact.weights(r)), rtol=0.03, atol=0)
    error = ((found.mean[0] - x)[hidden].square().mean() / (mean - x)[hidden].square().mean()).sqrt()
    assert 0.98 < float(error) < 1.05


def apart_at_a_hole(field: MaternField, sigma: float) -> tuple[float, float]:
    """Of a box that is hidden in 64x64: error of the mean in posterior standard deviations, and ratio of the variances."""
    grid = Grid(64, 64, 1)
    keys, seen = Keys.of(0, "hole", [0]), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    seen[..., 19:45, 19:45] = False
    measurement = measure(Mask(seen, 1), field.sample(keys, grid), Noise(sigma=sigma), keys)
    exact, r = GaussianPosterior(field, measurement), measurement.y[None]
    found, variance = LocalKriging.of(field, measurement, r), exact.variance()[~seen].mean()
    error = (found.mean - exact.gain(r))[0][~seen].square().mean() / variance
    return float(error.sqrt()), float(found.variance[~seen].mean() / variance)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
@pytest.mark.parametrize("exponent", [1.7, 2.0])
def test_a_hole_is_seen_from_all_sides(exponent, sigma):
    mean, variance = apart_at_a_hole(MaternField(std=0.5, length=0.25, exponent=exponent), sigma)
    assert mean < 0.05 and abs(variance - 1) < 0.03


def test_the_nearest_values_alone_see_a_hole_from_one_side(monkeypatch):
    """The mutant."""
    monkeypatch.setattr(local_kriging, "LAYER", 0.0)
    mean, variance = apart_at_a_hole(FIELD, 0.0)
    assert mean > 0.12 and variance > 1.03


def test_scattered_values_are_the_nearest(monkeypatch):
    measurement, _ = masked("random")
    found = LocalKriging.of(FIELD, measurement, measurement.y[None], nearest=60)
    monkeypatch.setattr(local_kriging, "LAYER", 0.0)
    nearest = LocalKriging.of(FIELD, measurement, measurement.y[None], nearest=60)
    torch.testing.assert_close(found.mean, nearest.mean, rtol=0, atol=1e-5)


def test_all_values_in_one_neighbourhood_are_the_whole():
    measurement, _ = masked("random")
    exact, r = GaussianPosterior(FIELD, measurement), torch.stack([measurement.y, 2 * measurement.y])
    found = LocalKriging.of(FIELD, measurement, r, nearest=GRID.pixels)
    torch.testing.assert_close(found.mean, exact.gain(r), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.variance, exact.variance(), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.loo_error, exact.loo_error(exact.weights(r)), rtol=5e-3, atol=0)
    weights = exact.weights(r)
    assert float((found.weights - weights).norm() / weights.norm()) < 5e-3


def test_nothing_seen_is_the_prior():
    measurement, _ = masked("nothing")
    found = LocalKriging.of(FIELD, measurement, measurement.y[None])
    assert not found.mean.any() and not found.weights.any() and found.loo_error.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.variance.double(), FIELD.variance(GRID).expand(3, -1, -1, -1))


def test_a_fill_of_many_values_has_a_std_and_a_leave_one_out_error(monkeypatch):
    grid, field = Grid(36, 36, 3), MaternField(std=0.5, length=0.25, exponent=1.7, color=0.4)
    measurement, _ = masked("random", grid=grid, field=field)
    exact = initial_estimate("gaussian", field, measurement)
    assert exact.has_weights
    monkeypatch.setattr("invkit.physics.gaussian.kriging.DENSE_VALUES", 50)
    assert not GaussianPosterior(field, measurement).dense
    found = initial_estimate("gaussian", field, measurement)
    for name in ("mean", "std", "loo_error"):
        torch.testing.assert_close(getattr(found, name), getattr(exact, name), rtol=0.02, atol=0.02)
    assert float((found.data_channel - exact.data_channel).norm() / exact.data_channel.norm()) < 0.02
