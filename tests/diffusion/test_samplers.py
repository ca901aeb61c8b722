"""Samplers against Gaussian laws that are known: pixel by pixel, and the posterior of a field in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from support.broken_samplers import HalfDrift, Loud, name
from support.exact_posterior import NOISES, Exact, errors, propagate, transport

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import SAMPLERS
from invkit.diffusion.samplers import Denoising, Dpmpp2M, EulerMaruyama, Heun, Langevin, Sample
from invkit.diffusion.schedules import EdmSchedule, FlowSchedule

MEAN, STD = 0.7, 0.4


LEVELS = EdmSchedule(sigma_min=1e-3, sigma_max=1e4).levels


GRID = Grid(16, 16, 1)


def exact(x, sigma):
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def test_heun_is_of_second_order():
    """Exact propagation: the ODE maps x linearly, so two starts give the deviation without Monte Carlo."""

    def error(steps: int) -> float:
        levels = EdmSchedule(sigma_min=0.02, sigma_max=10).levels(steps)
        starts = torch.tensor([0.0, 1.0], dtype=torch.float64)
        ends = Heun()(exact, lambda label: starts, levels).tolist()
        # The last step goes from sigma_min to zero by Euler at every number of steps: compare with many steps.
        return ends[1] - ends[0]

    limit = error(4000)
    coarse, fine = abs(error(20) - limit), abs(error(40) - limit)
    assert 3.2 < coarse / fine < 5.5


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_calls_are_counted(name):
    sampler, counter = SAMPLERS[name](), iter(range(1000))

    def denoise(x, s):
        next(counter)
        return x

    sampler(denoise, lambda label: torch.zeros(1), EdmSchedule().levels(7))
    assert next(counter) == sampler.calls(7)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_label_names_one_draw(name):
    labels = []
    SAMPLERS[name]()(lambda x, s: x, lambda label: (labels.append(label), torch.zeros(1))[1], EdmSchedule().levels(7))
    assert len(labels) == len(set(labels)) > 0


# method, how its law is found, steps, order, and the errors of mean and covariance at the last number of steps
CASES = [
    (Heun(), transport, (32, 64, 128), 2, 2e-3, 0.01),
    (Dpmpp2M(), transport, (32, 64, 128), 2, 2e-3, 0.01),
    (EulerMaruyama(), propagate, (64, 128, 256), 1, 2e-3, 0.1),
    (Denoising(), propagate, (64, 128, 256), 1, 2e-3, 0.1),
]


@pytest.mark.parametrize("noise", sorted(NOISES))
@pytest.mark.parametrize(("method", "law", "steps", "order", "mean", "covariance"), CASES, ids=name)
def test_the_closed_form_is_reached_at_the_order_claimed(noise, method, law, steps, order, mean, covariance):
    exact = Exact.of(GRID, NOISES[noise])
    found = [errors(law(method, exact, LEVELS(n)), exact) for n in steps]
    assert found[-1][0] < mean and found[-1][1] < covariance
    rates = [math.log2(a[1] / b[1]) for a, b in pairwise(found)]
    assert all(order - 0.25 < rate < order + 0.45 for rate in rates), (rates, found)


@pytest.mark.parametrize("noise", sorted(NOISES))
def test_churn_and_langevin_corrections_reach_it_too(noise):
    exact = Exact.of(GRID, NOISES[noise])
    assert errors(propagate(Heun(churn=2), exact, LEVELS(96)), exact)[1] < 0.08
    alone = errors(propagate(Denoising(), exact, LEVELS(40)), exact)[1]
    one, four = (errors(propagate(Langevin(corrections=k), exact, LEVELS(40)), exact)[1] for k in (1, 4))
    assert four < 0.4 * alone and one < 0.7 * alone


class NoNoise(EulerMaruyama):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, lambda label: 0 * noise(label), levels, x)


class OffLevel(Heun):
    def walk(self, denoise, noise, levels, x):
        return super().walk(lambda z, s: denoise(z, 1.2 * s), noise, levels, x)


@pytest.mark.parametrize(
    ("mutant", "sound"),
    [(NoNoise(), EulerMaruyama()), (Loud(), Denoising()), (HalfDrift(), EulerMaruyama()), (OffLevel(), Heun())],
    ids=name,
)
@pytest.mark.parametrize("noise", sorted(NOISES))
def test_mutants_miss_the_closed_form(mutant, sound, noise):
    exact, levels = Exact.of(GRID, NOISES[noise]), LEVELS(128)
    assert errors(propagate(mutant, exact, levels), exact)[1] > 0.25 > errors(propagate(sound, exact, levels), exact)[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize("noise", sorted(NOISES))
@pytest.mark.parametrize(
    ("method", "steps"),
    [(Heun(), 128), (Dpmpp2M(), 128), (Denoising(), 256), (EulerMaruyama(), 256), (Langevin(), 128)],
    ids=name,
)
def test_monte_carlo_on_finer_grids(n, noise, method, steps):
    exact, count = Exact.of(Grid(n, n, 1), NOISES[noise]), 400
    keys = Keys.of(1, "fine", range(count))
    levels = EdmSchedule(sigma_min=1e-3, sigma_max=300).levels(steps)
    x = method(exact.denoise, lambda label: exact.noise.sample(keys.child(label), exact.grid).double(), levels)
    mean, covariance = exact.posterior()
    z = (x.flatten(1).mean(0) - mean) / (covariance.diagonal() / count).sqrt()
    assert float(z.square().mean()) < 1.6 and float(z.abs().max()) < 6
    ratio = float(x.flatten(1).var(0).sum() / covariance.diagonal().sum())
    allowed = 0.02 if isinstance(method, Heun | Dpmpp2M) else 0.12
    error = 2 * math.sqrt(2 * float(covariance.square().sum()) / float(covariance.diagonal().sum()) ** 2 / count)
    assert ratio == pytest.approx(1, abs=allowed + error)


def test_the_lowest_level_of_sampling_is_a_setting_of_its_own():
    schedule = EdmSchedule(sigma_max=30.0)
    levels = Sample(steps=6, sigma_min=0.05).levels(schedule)
    assert levels.tolist() == pytest.approx(EdmSchedule(sigma_max=30.0, sigma_min=0.05).levels(6).tolist())
    assert Sample(steps=6).levels(schedule).tolist() == schedule.levels(6).tolist()
    with pytest.raises(ValueError, match="below the highest noise level, 30"):
        Sample(sigma_min=40.0).levels(schedule)
    with pytest.raises(ValueError, match="for the schedule edm"):
        Sample(sigma_min=0.05).levels(FlowSchedule())
