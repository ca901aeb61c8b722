"""The twisted diffusion sampler against posteriors in closed form: a mixture, whose component weights it finds, and a field."""

import pytest
import torch
from support.exact_prior import MATERN, NOISE
from support.messages import warns

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.mixture import Component, GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior, MixturePrior, ZeroShot, tds

GRID, DRAWS, STEPS = Grid(6, 6, 1), 80, 20
FIELDS = MaternField(std=0.5, length=0.4, exponent=2.0), MaternField(std=0.3, length=0.25, exponent=2.0)
MIXTURE = GaussianMixture(
    (Component(FIELDS[0], 0.5, ((1, 1, 1.4),)), Component(FIELDS[1], 0.5, ((1, 1, -1.4),))),
)


def observed(law, sigma, images=(5, 7, 12, 18, 19)):
    keys = Keys.of(3, "tds", images)
    mask = Mask((keys.permutation("mask", GRID.pixels) < 4).view(-1, 1, *GRID.shape), 1)
    return measure(mask, law.sample(keys, GRID), Noise(sigma=sigma), keys)


def draw(prior, m, particles, count=DRAWS, steps=STEPS, **settings):
    calls = {"calls": 2 * steps * particles, "particles": particles, "products": 1}
    row = ZeroShot(SOLVERS["tds"].model_validate({"prior": "exact", **calls, **settings}), prior)
    return row.sample(m, Keys.of(1, "draws", range(len(m))), count)


def error_of_weights(particles, **settings):
    """Mean total variation between the posterior weights of the components and those of the samples."""
    m = observed(MIXTURE, 0.3)
    x = draw(MixturePrior.white(MIXTURE, GRID), m, particles, **settings)
    found = MIXTURE.responsibilities(x.flatten(0, 1)).view(DRAWS, len(m), 2).mean(0)
    return float((found - MixturePosterior(MIXTURE, m).weights).abs().mean())


def test_weights_of_components_converge_with_the_particles():
    """One particle is a walk without weights: the mutant."""
    errors = {particles: error_of_weights(particles) for particles in (1, 4)}
    assert errors[1] > 0.12 and errors[4] < 0.06


@pytest.mark.slow
def test_weights_are_exact_with_many_particles():
    assert error_of_weights(16) < 0.04 and error_of_weights(64) < 0.03


def test_of_a_field_mean_and_variance_are_those_of_the_posterior():
    m = observed(MATERN, 0.1)
    posterior = GaussianPosterior(MATERN, m)
    x = draw(FieldPrior(MATERN, NOISE), m, 4, count=48, products=2, calls=480)
    total = posterior.variance().sum()
    assert float((x.mean(0) - posterior.mean()).square().sum() / total) ** 0.5 < 0.15
    assert 0.85 < float(x.var(0).sum() / total) < 1.1


def test_few_effective_particles_are_said():
    m = measure(
        Mask(torch.ones(1, 1, 6, 6, dtype=torch.bool), 1),
        torch.zeros(1, 1, 6, 6),
        Noise(sigma=0.01),
        Keys.of(0, "w", [0]),
    )
    with warns("tds: at its worst noise level", "of 32", "particles"):
        draw(FieldPrior(MATERN, NOISE), m, 32, count=2, steps=4)


def test_particles_are_resampled_in_proportion_to_their_weights():
    weights = torch.tensor([[0.1, 0.0], [0.6, 0.0], [0.3, 1.0], [0.0, 0.0]], dtype=torch.float64).log()
    u = torch.linspace(0, 1, 1001)[:-1]
    order = torch.stack([tds._systematic(weights, v.expand(2), 4) for v in u])
    shares = (order[:, :, 0, None] == torch.arange(4)).double().mean((0, 1))
    torch.testing.assert_close(shares, weights.exp()[:, 0], rtol=0, atol=2e-3)
    counts = (order[:, :, 0, None] == torch.arange(4)).sum(1)  # of each draw: what is expected, rounded up or down
    assert bool(((counts - 4 * weights.exp()[:, 0]).abs() < 1).all()) and bool((order[:, :, 1] == 2).all())
    torch.testing.assert_close(tds._effective(weights), torch.tensor([1 / 0.46, 1.0], dtype=torch.float64))
    x = torch.arange(8.0).view(8, 1, 1, 1)  # particle i of image b is 2 i + b
    assert tds._picked(x, torch.tensor([[3, 0], [1, 1]])).flatten().tolist() == [6, 1, 2, 3]
