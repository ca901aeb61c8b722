import numpy as np
import pytest
import torch
from skimage.restoration import inpaint_biharmonic
from support.toy_operators import toy, values

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.biharmonic import Biharmonic


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


@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["mask", "masks"])
@pytest.mark.parametrize("shape", [(6, 6, 3), (5, 8, 2)])
def test_against_the_variational_problem(kind, shape, sigma):
    measurement, matrices = toy(kind, Grid(*shape), sigma)
    energy = squared_laplacian(measurement.grid)
    got = Biharmonic().mean(measurement)
    for x, y, a in zip(got, values(measurement).numpy(), matrices.numpy(), strict=True):
        m, n = a.shape
        system = np.block([[energy, a.T], [a, np.zeros((m, m))]])
        want = np.linalg.solve(system, np.concatenate([np.zeros(n), y]))[:n]
        np.testing.assert_allclose(x.numpy().ravel(), want, rtol=0, atol=1e-6)


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


def test_constants_are_kept_and_images_are_apart():
    measurement, _ = toy("mask", Grid(6, 7, 3))
    colour = torch.tensor([0.3, -0.7, 0.0])[:, None, None].expand(3, 3, 6, 7)
    constant = Measurement(measurement.operator, measurement.operator.forward(colour))
    torch.testing.assert_close(Biharmonic().mean(constant), colour, rtol=0, atol=1e-5)
    parts = torch.cat([Biharmonic().mean(measurement[i : i + 1]) for i in range(3)])
    assert torch.equal(Biharmonic().mean(measurement), parts)


def test_what_is_no_mask_is_refused():
    measurement, _ = toy("sums", Grid(6, 7, 3))
    with pytest.raises(Unavailable, match="biharmonic is made for masks"):
        Biharmonic().mean(measurement)


def test_nothing_seen_is_grey_and_everything_seen_is_kept():
    y = torch.rand(2, 3, 4, 4)
    y[0] = 0
    observed = torch.tensor([False, True])[:, None, None, None].expand(2, 1, 4, 4)
    assert torch.equal(Biharmonic().mean(Measurement(Mask(observed), y)), y)
