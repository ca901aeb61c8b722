import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import initial_estimate
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.metrics import METRICS, Outcome
from invkit.physics.degradations import Nothing
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Noise, measure

GRID, FIELD = Grid(8, 12), MaternField(std=0.5, length=0.3, color=0.4)


@pytest.fixture(params=[0.0, 0.1])
def measurement(request):
    keys = Keys.of(0, "nothing", range(3))
    return measure(Nothing().sample(keys, GRID), torch.ones(3, *GRID.picture), Noise(sigma=request.param), keys)


def test_nothing_is_measured_not_even_noise(measurement):
    assert measurement.observed.shape == (3, 1, 8, 12) and not measurement.observed.any()
    assert not measurement.y.any()
    x = torch.ones(3, *GRID.picture)
    assert torch.equal(measurement.paste(x), x)


def test_the_gaussian_posterior_is_the_prior(measurement):
    posterior = GaussianPosterior(FIELD, measurement)
    assert not posterior.mean().any()
    torch.testing.assert_close(posterior.variance().double(), FIELD.variance(GRID).expand(3, -1, -1, -1))
    keys = Keys.of(1, "draw", range(3))
    assert torch.equal(posterior.sample(keys, 2).flatten(0, 1), FIELD.sample(keys.fork(2), GRID))


@pytest.mark.parametrize("fill", ["gaussian", "mean", "zero"])
def test_every_fill_is_the_mean(fill, measurement):
    filled = initial_estimate(fill, FIELD, measurement)
    assert not filled.mean.any() and not filled.data_channel.any() and filled.misfit.tolist() == [1, 1, 1]
    assert bool((filled.deviation > 0).all())


def test_metrics_have_a_value_or_none_and_never_fail(measurement):
    samples = FIELD.sample(Keys.of(2, "s", range(57)), GRID).unflatten(0, (19, 3))
    outcome = Outcome(torch.ones(3, *GRID.picture), measurement, "sample", samples[0], samples)
    bootstrap = Bootstrap.of(["a", "b", "c"], 0, 10)
    found = {}
    for name in ("data_misfit", "psnr", "psnr_hidden", "crps", "coverage_90"):
        parts = METRICS[name]().components(outcome)
        found[name] = float(bootstrap.values(METRICS[name](), {k: v.numpy() for k, v in parts.items()})[0])
    assert math.isnan(found.pop("data_misfit"))
    assert all(math.isfinite(value) for value in found.values())
