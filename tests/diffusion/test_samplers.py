"""Samplers against a Gaussian whose denoiser is known: N(mean, std^2) in every pixel."""

import pytest
import torch

from invkit.diffusion import SAMPLERS
from invkit.diffusion.samplers import Denoising, Heun
from invkit.diffusion.schedules import EdmSchedule, VpCosineSchedule

MEAN, STD = 0.7, 0.4


def exact(x, sigma):
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def draw(sampler, levels, denoise=exact, n=100_000):
    rng = torch.Generator().manual_seed(0)
    x = sampler(denoise, lambda label: torch.randn(n, generator=rng, dtype=torch.float64), levels)
    return float(x.mean()), float(x.std())


@pytest.mark.parametrize(
    ("sampler", "levels"),
    [
        (Heun(), EdmSchedule(sigma_min=0.002, sigma_max=40).levels(40)),
        (Heun(churn=10), EdmSchedule(sigma_min=0.002, sigma_max=40).levels(60)),
        (Denoising(), VpCosineSchedule().levels(400)),
    ],
)
def test_the_law_of_a_gaussian_is_reached(sampler, levels):
    mean, std = draw(sampler, levels)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert std == pytest.approx(STD, rel=0.02)


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


def test_mutants_are_caught():
    levels = VpCosineSchedule().levels(200)

    class NoNoise(Denoising):
        def __call__(self, denoise, noise, levels):
            return super().__call__(denoise, lambda label: noise(label) * (label == "start"), levels)

    assert draw(NoNoise(), levels)[1] < 0.8 * STD
    assert draw(Heun(), EdmSchedule().levels(40), lambda x, s: exact(x, 1.5 * s))[1] != pytest.approx(STD, rel=0.05)


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
