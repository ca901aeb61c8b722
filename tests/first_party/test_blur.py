import numpy as np
import pytest
import torch
from invkit_blur import GaussianBlur, KernelBlur, MotionBlur
from kornia.filters import filter2d
from PIL import Image
from scipy import ndimage
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys


def draw(degradation, grid, ids=range(3)):
    return degradation.sample(Keys.of(0, "op", ids), grid)


def pictures(grid, n=3):
    return torch.randn(n, *grid.picture, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def spot(degradation, grid):
    """What a bright pixel in the middle becomes."""
    x = torch.zeros(1, *grid.picture, dtype=torch.float64)
    x[..., grid.height // 2, grid.width // 2] = 1
    return draw(degradation, grid, [0]).forward(x)[0, 0].numpy()


@pytest.mark.parametrize("grid", [Grid(32, 32), Grid(24, 41)])
def test_gaussian_agrees_with_scipy(grid):
    x = pictures(grid)
    sigma = 0.06 * min(grid.shape)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=8)
    error = np.abs(draw(GaussianBlur(width=0.06), grid).forward(x).numpy() - expected)
    assert error.max() < 2e-3 * np.abs(x.numpy()).max()  # a sampled Gaussian is a little wider than the heat flow


def test_gaussian_blurs_add_up_and_keep_the_mean():
    grid = Grid(20, 31)
    x = pictures(grid)
    twice = draw(GaussianBlur(width=0.04), grid).forward(draw(GaussianBlur(width=0.03), grid).forward(x))
    torch.testing.assert_close(twice, draw(GaussianBlur(width=0.05), grid).forward(x))
    torch.testing.assert_close(twice.mean((2, 3)), x.mean((2, 3)))


@pytest.mark.parametrize(("angle", "turned"), [(0.0, False), (90.0, True), (180.0, False)])
def test_straight_motion_is_a_row_of_equal_weights(angle, turned):
    kernel = spot(MotionBlur(length=5 / 32, angle=angle), Grid(32, 32, 1))
    kernel = kernel.T if turned else kernel
    # A picture of square cells moved by five cells: four full weights, and the two ends that a cell shares.
    expected = np.zeros((32, 32))
    expected[16, 13:20] = np.array([1 / 8, 7 / 8, 1, 1, 1, 7 / 8, 1 / 8]) / 5
    np.testing.assert_allclose(kernel, expected, atol=2e-4)


@pytest.mark.parametrize("angle", [30.0, 115.0, -20.0])
def test_motion_has_its_direction_and_length(angle):
    kernel = spot(MotionBlur(length=0.3, angle=angle), Grid(64, 64, 1))
    row, column = np.mgrid[:64, :64] - 32
    up, right = (kernel * -row * column).sum(), (kernel * (column**2 - row**2)).sum()
    assert np.degrees(np.arctan2(2 * up, right)) % 360 == pytest.approx(2 * angle % 360, abs=1)
    spread = (kernel * (row**2 + column**2)).sum()
    assert spread == pytest.approx((0.3 * 64) ** 2 / 12 + 2 / 6, rel=1e-3) and kernel.min() > -1e-12


def test_random_motion_is_drawn_for_each_picture_in_every_direction():
    a = draw(MotionBlur(), Grid(16, 16, 1), range(3))
    x = pictures(Grid(16, 16, 1), 1).expand(3, -1, -1, -1)
    y = a.forward(x)
    assert not torch.allclose(y[0], y[1])
    torch.testing.assert_close(draw(MotionBlur(), Grid(16, 16, 1), [2]).forward(x[2:]), y[2:])


@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_a_kernel_of_the_grids_own_cells_is_used_as_it_is(tmp_path, suffix):
    kernel = np.arange(15.0).reshape(3, 5) + 1
    path = tmp_path / f"k.{suffix}"
    if suffix == "npy":
        np.save(path, kernel)
    else:
        Image.fromarray(kernel.astype(np.uint8)).save(path)
    grid = Grid(20, 25)
    x = pictures(grid)
    y = draw(KernelBlur(file=str(path), size=5 / 20), grid).forward(x)
    weights = torch.from_numpy(kernel / kernel.sum())[None]
    expected = filter2d(x, weights, "circular", behaviour="conv")
    torch.testing.assert_close(y, expected)


def test_a_kernel_keeps_its_mass_and_place_on_every_grid(tmp_path):
    np.save(tmp_path / "k.npy", np.array([[0, 0, 3.0], [0, 1, 1], [2, 0, 0]]))
    for n in (8, 31, 64):
        kernel = spot(KernelBlur(file=str(tmp_path / "k.npy"), size=0.4), Grid(n, n, 1))
        place = (np.arange(n) - n // 2) / n
        assert kernel.sum() == pytest.approx(1)
        assert (kernel.sum(0) @ place, kernel.sum(1) @ place) == pytest.approx(
            (0.4 / 3 * 2 / 7, -0.4 / 3 / 7), abs=2e-3
        )


def test_kernels_that_cannot_be_used_are_named(tmp_path):
    bad = tmp_path / "bad.npy"
    for content in (b"no array", None):
        if content is None:
            np.save(bad, np.zeros((3, 3)))
        else:
            bad.write_bytes(content)
        with raises(DataError, "bad.npy"):
            draw(KernelBlur(file=str(bad)), Grid(8, 8))
    with raises(DataError, "missing.png"):
        draw(KernelBlur(file=str(tmp_path / "missing.png")), Grid(8, 8))


def test_the_pseudo_inverse_undoes_most_of_a_blur():
    grid = Grid(32, 32)
    x = pictures(grid)
    for degradation in (GaussianBlur(width=0.02), MotionBlur(length=0.1)):
        a = draw(degradation, grid)
        y = a.forward(x)
        assert (a.forward(a.pinv(y)) - y).norm() < a.pinv_tolerance * y.norm()
        assert (a.pinv(y) - x).norm() < 0.6 * (y - x).norm()
