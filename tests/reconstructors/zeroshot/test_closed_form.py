"""The prior `oracle`: the denoiser of the images' own distribution."""

from dataclasses import replace

import pytest
import torch
from support.messages import raises

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import MixtureFields
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior, MixturePrior
from invkit.testing.methods import sources

FIELD, GRID = MaternField(std=0.5, length=0.3, exponent=2.0, color=0.4), Grid(10, 12)


@pytest.mark.parametrize("reference", [Grid(10, 12), Grid(20, 24)])
def test_of_a_field_it_is_the_wiener_filter(reference):
    exact, other = MixturePrior.white(GaussianMixture.of(FIELD), reference), FieldPrior.white(FIELD, reference)
    x = Keys.of(0, "x", range(2)).normal("x", *GRID.picture)
    for sigma in (0.01, 1.0, 30.0):
        torch.testing.assert_close(exact.denoise(x, sigma), other.denoise(x, sigma), rtol=0, atol=1e-5)
    torch.testing.assert_close(exact.covariance(x), other.covariance(x))
    assert torch.equal(exact.mean(GRID), other.mean(GRID)) and exact.std(GRID) == pytest.approx(other.std(GRID))


def test_noise_and_moments_of_a_mixture():
    law = MixtureFields().law()
    exact, n = MixturePrior.white(law, GRID), Keys.of(0, "n", range(200))
    assert exact.std(GRID) == law.pixel_std(GRID) > 0.25
    noise = exact.noise(n, GRID, "a")
    assert float(noise.std()) == pytest.approx(law.pixel_std(GRID), rel=0.02)
    torch.testing.assert_close(exact.denoise(noise, 1e4), exact.mean(GRID).expand_as(noise), rtol=0, atol=1e-3)
    torch.testing.assert_close(exact.denoise(0.3 * noise[:2], 1e-6), 0.3 * noise[:2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_takes_it(name):
    method = SOLVERS[name].model_validate({"prior": "oracle"})
    assert isinstance(method.build(sources()).prior, MixturePrior)
    with raises(RecipeError, f"{name}.prior: `oracle`", "data.name=fields", "mixture-fields"):
        method.build(replace(sources(), law=None))
    with raises(RecipeError, f"{name}.prior: `oracle`", "without padding"):
        method.build(replace(sources(), law=MaternField(padding=1.0)))
