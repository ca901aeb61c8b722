import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.diffusion.loss import Loss
from invkit.physics.gaussian import MaternField, WhiteField, dct

GRID = Grid(8, 8, 1)
SIGMA, POWER = torch.tensor([0.5, math.inf]), torch.tensor([0.2, 1.0])


def loss(error, where=None, noise=WhiteField(reference=8), **settings):  # noqa: B008
    return Loss(**settings)(error, where, SIGMA, POWER, noise, GRID)


def test_weights_at_a_finite_level_and_at_infinity():
    error = torch.full((2, 1, 8, 8), 2.0)
    assert loss(error).tolist() == pytest.approx([4 / 0.2, 4])
    assert loss(error, weight="x0").tolist() == pytest.approx([4, 4])
    assert loss(error, weight="epsilon").tolist() == pytest.approx([4 / 0.25, 4])


def test_only_what_is_asked_for_counts():
    error, where = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    error[..., 0, 0], where[..., 0, 1] = 9.0, 1.0
    assert loss(error, where, weight="x0").tolist() == [0, 0]
    where[..., 0, 0] = 1.0
    assert loss(error, where, weight="x0").tolist() == pytest.approx([81 / 2, 81 / 2])


def test_a_mean_over_the_domain_does_not_depend_on_the_grid():
    fine = torch.linspace(-1, 1, 16).view(1, 1, 1, 16).expand(2, 1, 16, 16)
    coarse = torch.nn.functional.avg_pool2d(fine, 2)
    a = Loss(weight="x0")(fine, None, SIGMA, POWER, WhiteField(), Grid(16, 16, 1))
    b = Loss(weight="x0")(coarse, None, SIGMA, POWER, WhiteField(), GRID)
    torch.testing.assert_close(a, b, rtol=0.02, atol=0)


def test_whitening_weighs_modes_by_the_noise():
    noise = MaternField(length=0.3)
    error = torch.randn(2, 1, 8, 8)
    power = noise.spectrum(GRID)[0, 0]
    for floor in (1e-6, 0.1):
        want = (dct(error.double()).square() * power.max() / power.clamp(min=floor * power.max())).mean((1, 2, 3))
        torch.testing.assert_close(loss(error, noise=noise, weight="x0", whiten=floor), want.float(), rtol=1e-4, atol=0)
    white = loss(error, weight="x0", whiten=0.5)
    torch.testing.assert_close(white, loss(error, weight="x0"))
