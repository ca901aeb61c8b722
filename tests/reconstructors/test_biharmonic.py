import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from skimage.restoration import inpaint_biharmonic
from support.toy_operators import toy, values

from invkit.core.grid import Grid
from invkit.physics.gaussian import idct
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.biharmonic import Biharmonic, bending


def squared_laplacian(grid: Grid) -> np.ndarray:
    """`L^T L` of pictures by differences to the neighbours that a cell has."""
    pixels = np.arange(grid.pixels).reshape(grid.shape)
    laplacian = np.zeros((grid.pixels, grid.pixels))
    pairs = [*zip(pixels[1:].ravel(), pixels[:-1].ravel(), strict=True)]
    pairs += zip(pixels[:, 1:].ravel(), pixels[:, :-1].ravel(), strict=True)
    for i, j in pairs:
        laplacian[i, [i, j]] += (-1, 1)
        laplacian[j, [j, i]] += (-1, 1)
    return np.kron(np.eye(grid.channels), laplacian.T @ laplacian)


@pytest.mark.parametrize(("kind", "tolerance"), [("mask", 1e-6), ("masks", 1e-6), ("sums", 1e-3)])
@pytest.mark.parametrize("shape", [(6, 6, 3), (5, 8, 2)])
def test_without_noise_against_the_variational_problem(kind, tolerance, shape):
    measurement, matrices = toy(kind, Grid(*shape))
    energy = squared_laplacian(measurement.grid)
    got = Biharmonic().mean(measurement)
    for x, y, a in zip(got, values(measurement).numpy(), matrices.numpy(), strict=True):
        m, n = a.shape
        system = np.block([[energy, a.T], [a, np.zeros((m, m))]])
        want = np.linalg.solve(system, np.concatenate([np.zeros(n), y]))[:n]
        np.testing.assert_allclose(x.numpy().ravel(), want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["mask", "masks", "sums"])
def test_noise_is_the_misfit_of_the_smoothest_picture(kind):
    sigma = 0.1
    measurement, matrices = toy(kind, Grid(6, 6, 2), sigma)
    energy = squared_laplacian(measurement.grid)
    got = Biharmonic().mean(measurement)
    for x, y, a in zip(got, values(measurement).numpy(), matrices.numpy(), strict=True):

        def solution(log: float, a: np.ndarray = a, y: np.ndarray = y) -> np.ndarray:
            return np.linalg.solve(energy + np.exp(log) * a.T @ a, np.exp(log) * a.T @ y)

        def excess(log: float, a: np.ndarray = a, y: np.ndarray = y) -> float:
            return float(np.mean((a @ solution(log) - y) ** 2)) - sigma**2

        want = solution(brentq(excess, -8, 15))
        np.testing.assert_allclose(x.numpy().ravel(), want, rtol=0, atol=2e-3)


def test_a_hole_far_from_the_border_against_scikit_image():
    i, j = np.mgrid[:16, :16] / 16
    x = np.sin(5 * i) * np.cos(4 * j) + i * j
    hole = np.zeros((16, 16), bool)
    hole[5:11, 6:10] = True
    observed = torch.from_numpy(~hole)[None, None]
    y = torch.from_numpy(np.where(hole, 0, x)).float()[None, None]
    got = Biharmonic().mean(Measurement(Mask(observed, 1), y))[0, 0].numpy()
    want = inpaint_biharmonic(np.where(hole, 0, x), hole)
    np.testing.assert_allclose(got[hole], want[hole], atol=1e-3)
    assert np.abs(x[hole]).mean() > 0.1


@pytest.mark.parametrize(("kind", "sigma"), [("mask", 0.0), ("mask", 0.1), ("sums", 0.0), ("sums", 0.1)])
def test_constants_are_kept_and_pictures_are_apart(kind, sigma):
    measurement, _ = toy(kind, Grid(6, 7, 3), sigma)
    colour = torch.tensor([0.3, -0.7, 0.0])[:, None, None].expand(3, 3, 6, 7)
    constant = Measurement(measurement.operator, measurement.operator.forward(colour), sigma)
    torch.testing.assert_close(Biharmonic().mean(constant), colour, rtol=0, atol=1e-5)
    parts = torch.cat([Biharmonic().mean(measurement[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(Biharmonic().mean(measurement), parts, rtol=0, atol=1e-6)


def test_nothing_seen_is_grey_and_everything_seen_is_kept():
    y = torch.rand(2, 3, 4, 4)
    y[0] = 0
    observed = torch.tensor([False, True])[:, None, None, None].expand(2, 1, 4, 4)
    assert torch.equal(Biharmonic().mean(Measurement(Mask(observed), y)), y)


def test_bending_is_the_spectrum_of_the_squared_laplacian():
    grid = Grid(5, 7, 1)
    modes = idct(torch.eye(35, dtype=torch.float64).view(35, 5, 7)).view(35, 35).numpy()
    want = np.diag(bending(grid).flatten().numpy())
    np.testing.assert_allclose(modes @ squared_laplacian(grid) @ modes.T, want, atol=1e-12)
