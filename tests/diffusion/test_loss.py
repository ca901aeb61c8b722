import math

import pytest
import torch

from invkit.diffusion.loss import Loss

SIGMA, POWER = torch.tensor([0.5, math.inf]), torch.tensor([0.2, 1.0])


def loss(error, where=None, **settings):
    return Loss(**settings)(error, where, SIGMA, POWER)


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
    torch.testing.assert_close(loss(fine, weight="x0"), loss(coarse, weight="x0"), rtol=0.02, atol=0)
