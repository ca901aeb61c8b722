"""Samplers with the exact denoiser of a posterior with several modes: weights, covariance and energy distance of 4000 samples."""

from functools import lru_cache

import pytest
import torch
from support.broken_samplers import HalfDrift, Loud, name
from support.exact_mixture import COUNT, GRID, TAILS, ExactMixture

from invkit.core.keys import Keys
from invkit.diffusion.samplers import Denoising, Dpmpp2M, EulerMaruyama, Heun, Langevin
from invkit.diffusion.schedules import SCHEDULES, EdmSchedule

LEVELS = EdmSchedule(sigma_max=80).levels
LOW = EdmSchedule(sigma_max=20).levels


@lru_cache(maxsize=1)
def exact() -> ExactMixture:
    """Weights of .32, .10, .36, .13 and .09."""
    return ExactMixture.of(10)


def is_right(errors) -> bool:
    """Within the limits for 4000 samples; exact draws have .012, .029 and 0."""
    weights, covariance, energy = errors
    return weights < 0.02 and covariance < 0.05 and energy < 0.002


def test_the_denoiser_is_that_of_the_mixture_given_both_measurements():
    """The noisy state is one more measurement of all pixels: another route to the same mean."""
    case, sigma = exact(), 0.7
    x = case.draws(3, 3).double() + sigma * Keys.of(0, "n", range(3)).normal("n", *GRID.picture)
    found = case.denoise(x, sigma)
    precision = case.measurement.operator.observed / case.measurement.sigma**2 + 1 / (sigma * case.unit) ** 2
    for i in range(3):
        # both are measurements of pixels, which together have this precision and mean
        y = (case.measurement.y / case.measurement.sigma**2 + x[i] * case.unit / (sigma * case.unit) ** 2) / precision
        logs, means = [], []
        for part in case.law.components:
            n = GRID.pixels
            eye = torch.eye(n, dtype=torch.float64).view(n, *GRID.picture)
            prior = part.scale**2 * part.field.covariance(eye, GRID).view(n, n)
            system, mean = prior + torch.diag(1 / precision.flatten()), part.mean(GRID, eye).flatten()
            normal = torch.distributions.MultivariateNormal(mean, system)
            logs.append(normal.log_prob(y.flatten()) + torch.tensor(part.weight).log())
            means.append(mean + prior @ torch.linalg.solve(system, y.flatten() - mean))
        want = torch.stack(logs).softmax(0) @ torch.stack(means) / case.unit
        torch.testing.assert_close(found[i].flatten(), want, rtol=0, atol=1e-6)


def test_exact_draws_are_right_and_those_of_one_component_are_not():
    case = exact()
    assert is_right(case.errors(case.draws(1)))
    law = case.law.components[0]
    one = law.sample(Keys.of(0, "one", range(COUNT)), GRID, "x") / case.unit
    assert not is_right(case.errors(one))


def test_the_default_sampler_reaches_it_and_mutants_do_not():
    case = exact()
    assert is_right(case.errors(case.samples(Dpmpp2M(), LEVELS(24))))
    for mutant, levels in ((Dpmpp2M(), LOW), (Loud(), LEVELS), (HalfDrift(), LEVELS)):
        assert not is_right(case.errors(case.samples(mutant, levels(24))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "steps"),
    [(Heun(), 32), (Dpmpp2M(), 40), (EulerMaruyama(), 200), (Denoising(), 200), (Langevin(step=0.1), 100)],
    ids=name,
)
def test_every_sampler_reaches_it(method, steps):
    case = exact()
    assert is_right(case.errors(case.samples(method, LEVELS(steps))))


@pytest.mark.slow
@pytest.mark.parametrize("method", [Heun(), Dpmpp2M()], ids=name)
def test_heavy_tails_are_reached_too(method):
    case = ExactMixture.of(1, TAILS, sigma=0.2)
    drawn, found = case.errors(case.draws(1)), case.errors(case.samples(method, LEVELS(40)))
    assert found[0] < drawn[0] + 0.02 and found[1] < drawn[1] + 0.04 and found[2] < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "edm"])
def test_every_schedule_reaches_it(schedule):
    case = exact()
    assert is_right(case.errors(case.samples(Dpmpp2M(), SCHEDULES[schedule]().levels(40))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "levels", "steps"),
    [(Heun(), LOW, 32), (Dpmpp2M(), LOW, 40), (Loud(), LEVELS, 200), (HalfDrift(), LEVELS, 200)],
    ids=name,
)
def test_mutants_do_not_reach_it_with_many_steps(mutant, levels, steps):
    case = exact()
    assert not is_right(case.errors(case.samples(mutant, levels(steps))))
