import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from support.toy_operators import Sums, toy

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.tv import TotalVariation, differences, divergence, operator_norm, total_variation

SMOOTH = 1e-4


@pytest.mark.parametrize(("kind", "channels"), [("mask", 1), ("masks", 2), ("sums", 1)])
def test_without_noise_against_a_smoothed_problem_solved_by_scipy(kind, channels):
    measurement, matrices = toy(kind, Grid(5, 6, channels), batch=1)
    got = TotalVariation(steps=1500).mean(measurement)
    torch.testing.assert_close(measurement.operator.forward(got), measurement.y, rtol=0, atol=1e-4)

    a = matrices[0]
    free = torch.linalg.svd(a).Vh[len(a) :].T  # what the measurement does not see
    base = got.double().flatten()

    def smoothed(z: np.ndarray) -> tuple[float, np.ndarray]:
        z_ = torch.from_numpy(z).requires_grad_()
        x = (base + free @ z_).view(1, channels, 5, 6)
        value = (differences(x).square().sum((1, 2)) + SMOOTH**2).sqrt().sum()
        return value.item(), torch.autograd.grad(value, z_)[0].numpy()

    start = Keys.of(1, "z", [0]).normal("z", free.shape[1])[0].double().numpy()
    best = minimize(smoothed, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10000}).fun
    found = float(total_variation(got.double(), 1.0))
    assert best - 30 * SMOOTH <= found + 1e-3  # or the reference has not the least
    assert found <= best * (1 + 1e-3)


def test_denoising_a_step_against_the_closed_form():
    """Two halves of opposite values come as near to each other as the noise allows: the shrinkage of Strong & Chan 2003."""
    y = torch.full((1, 1, 6, 8), 0.5)
    y[..., 4:] = -0.5
    observed = torch.ones(1, 1, 6, 8, dtype=torch.bool)
    got = TotalVariation(steps=500).mean(Measurement(Mask(observed, 1), y, 0.1))
    torch.testing.assert_close(got, y * 0.8, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("kind", "sigma"), [("mask", 0.0), ("mask", 0.1), ("sums", 0.0), ("sums", 0.1)])
def test_constants_are_kept_and_pictures_are_apart(kind, sigma):
    measurement, _ = toy(kind, Grid(6, 7, 3), sigma)
    colour = torch.tensor([0.3, -0.7, 0.0])[:, None, None].expand(3, 3, 6, 7)
    constant = Measurement(measurement.operator, measurement.operator.forward(colour), sigma)
    torch.testing.assert_close(TotalVariation(steps=50).mean(constant), colour, rtol=0, atol=1e-5)
    parts = torch.cat([TotalVariation(steps=50).mean(measurement[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(TotalVariation(steps=50).mean(measurement), parts, rtol=0, atol=1e-5)


def test_noise_is_the_misfit():
    measurement, _ = toy("sums", Grid(6, 7, 3), 0.1)
    got = TotalVariation(steps=500).mean(measurement)
    misfit = (measurement.operator.forward(got) - measurement.y).square().mean(1).sqrt()
    torch.testing.assert_close(misfit, torch.full_like(misfit, 0.1), rtol=0.01, atol=0)


def test_divergence_is_minus_the_transpose_of_the_differences():
    keys = Keys.of(0, "tv", range(2))
    x, p = keys.normal("x", 2, 4, 5), keys.normal("p", 2, 2, 4, 5)
    torch.testing.assert_close((differences(x) * p).sum(), -(x * divergence(p)).sum())


def test_an_edge_is_as_long_on_every_grid():
    for n in (8, 16):
        x = torch.zeros(1, 1, n, n)
        x[..., n // 4 :] = 1
        assert float(total_variation(x, 1 / n)) == pytest.approx(1)


def test_norms_are_those_of_the_matrices_and_not_below():
    measurement, matrices = toy("sums", Grid(4, 4, 2))
    assert isinstance(measurement.operator, Sums)
    got = operator_norm(measurement.operator, measurement.y).double()
    want = torch.linalg.matrix_norm(matrices, 2)
    assert ((got >= want) & (got <= 1.06 * want)).all()
