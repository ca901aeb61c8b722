import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import SCHEDULES
from invkit.diffusion.constants import Constants
from invkit.diffusion.model import ConditionalModel, strongest_mode
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.residual_scale import ResidualScale
from invkit.diffusion.schedules import EdmSchedule, FlowSchedule, VpCosineSchedule, VpLinearSchedule
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField, WhiteField


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_levels_fall_to_zero(name):
    levels = SCHEDULES[name]().levels(25)
    assert levels.dtype == torch.float64 and len(levels) == 26 and levels[-1] == 0
    assert (levels.diff() <= 0).all() and (levels[:-1] > 0).all()


def test_vp_cosine_is_the_published_one():
    """lambda(t) = -2 ln tan(pi t / 2) cut to +-10; alpha^2 = sigmoid(lambda), sigma^2 = sigmoid(-lambda)."""
    s, t = VpCosineSchedule(), torch.tensor([0.0001, 0.2, 0.5, 0.7, 0.9999], dtype=torch.float64)
    lam = [min(10.0, max(-10.0, -2 * math.log(math.tan(math.pi * u / 2)))) for u in t.tolist()]
    alpha2 = torch.tensor([1 / (1 + math.exp(-v)) for v in lam], dtype=torch.float64)
    torch.testing.assert_close(s.scale(t) ** 2, alpha2)
    torch.testing.assert_close(s.scale(t) ** 2 * s.sigma(t) ** 2, 1 - alpha2)


def test_edm_training_levels_are_log_normal():
    s = EdmSchedule(log_mean=-1.0, log_std=0.5)
    logs = s.train_sigma((torch.arange(100_000) + 0.5) / 100_000).log()
    assert float(logs.mean()) == pytest.approx(-1.0, abs=0.01) and float(logs.std()) == pytest.approx(0.5, abs=0.01)
    levels = s.levels(9)
    assert float(levels[0]) == pytest.approx(20) and float(levels[-2]) == pytest.approx(s.sigma_min)


def test_vp_linear_against_the_integral_of_its_rate():
    s, t = VpLinearSchedule(limit=30), torch.tensor([0.01, 0.3, 0.8, 1.0], dtype=torch.float64)
    u = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    rate = s.beta_min + u * (s.beta_max - s.beta_min)
    integral = [float(torch.trapezoid((rate * (u <= x)), u)) for x in t]
    want = torch.tensor([math.exp(-0.5 * v) for v in integral], dtype=torch.float64)
    torch.testing.assert_close(s.scale(t), want, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(s.scale(t) ** 2 * (1 + s.sigma(t) ** 2), torch.ones(4, dtype=torch.float64))


def test_flow_paths_are_straight():
    s, t = FlowSchedule(limit=30), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    torch.testing.assert_close(s.scale(t), 1 - t)
    torch.testing.assert_close(s.scale(t) * s.sigma(t), t)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_training_levels_cover_what_is_sampled(name):
    s = SCHEDULES[name]()
    levels, trained = s.levels(20)[:-1], s.train_sigma(torch.linspace(0, 0.9999, 2000).double())
    assert trained.isfinite().all() and (trained > 0).all()
    assert float(trained.min()) <= 1.1 * float(levels.min()) and float(trained.max()) >= 0.9 * float(levels.max())


def test_the_highest_level_follows_the_strongest_mode():
    """A mode of the residual that is nearly all signal at the first level would be sampled with too little variance."""
    grid, keys = Grid(16, 16), Keys.of(0, "z", range(400))
    z = keys.normal("z", *grid.picture) + 3 * keys.normal("brightness", 1, 1, 1)
    residual = FittedField.fit(z, grid, torch.zeros(3).double())
    strongest = strongest_mode(residual, WhiteField())
    brightness = 9 * 3 * grid.pixels  # the same in three channels and all pixels
    own = float(WhiteField().spectrum(grid)[0, 0, 0, 0]) / grid.area  # of white noise, in pixels
    assert strongest == pytest.approx(((1 + brightness) / own) ** 0.5, rel=0.1)
    assert EdmSchedule().fitted(strongest).sigma_max == pytest.approx(5 * strongest)
    assert EdmSchedule().fitted(1.0).sigma_max == 20
    assert EdmSchedule(sigma_max=30).fitted(strongest).sigma_max == 30
    constants = Constants(residual, residual, ResidualScale(1.0), 16)
    network = NETWORKS["fno-unet"](channels=8, mult=(1,), blocks=1, modes=2, embedding=8)
    assert ConditionalModel(network, Diffusion(), constants).schedule.sigma_max == pytest.approx(5 * strongest)
