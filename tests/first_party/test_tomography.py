import math

import numpy as np
import pytest
import torch
from invkit_tomography import Radon, Tomography
from pydantic import ValidationError
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys


def draw(grid: Grid, **settings) -> Radon:
    return Tomography(**settings).sample(Keys.of(0, "op", [0, 1]), grid)


def places(a: Radon) -> np.ndarray:
    return (np.arange(a.geometry.bins) + 0.5) * a.geometry.bin - a.geometry.diagonal / 2


def blobs(grid: Grid, spots) -> torch.Tensor:
    """Gaussian blobs (x, y, width) around the centre of the domain, twice: (2, 1, H, W)."""
    row, column = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = column * grid.cell - grid.extent[1] / 2, grid.extent[0] / 2 - row * grid.cell
    picture = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2 / s**2) for u, v, s in spots)
    return torch.from_numpy(picture).expand(2, 1, -1, -1)


@pytest.mark.parametrize("grid", [Grid(64, 64, 1), Grid(64, 80, 1)])
@pytest.mark.parametrize("arc", [(0.0, 180.0), (-30.0, 60.0)])
def test_line_integrals_of_blobs(grid, arc):
    spots = [(0.12, -0.07, 0.08), (-0.15, 0.2, 0.05)]
    a = draw(grid, angles=7, arc=arc, detectors=1.5)
    y = a.forward(blobs(grid, spots))[0, 0].numpy()
    for k in range(7):
        t = math.radians(arc[0] + (arc[1] - arc[0]) * k / 7)
        away = [places(a) - u * math.cos(t) - v * math.sin(t) for u, v, _ in spots]
        exact = sum(
            math.sqrt(2 * math.pi) * s * np.exp(-(d**2) / 2 / s**2) for d, (_, _, s) in zip(away, spots, strict=True)
        )
        np.testing.assert_allclose(y[k], exact, atol=5e-3)


def test_every_direction_sees_the_whole_mass_of_every_pixel():
    grid = Grid(7, 10, 2)
    x = torch.randn(2, *grid.picture, dtype=torch.float64)
    a = draw(grid, angles=12, detectors=0.7)
    total = x.sum((2, 3)) * grid.area
    torch.testing.assert_close(a.forward(x).sum(3) * a.geometry.bin, total[..., None].expand(-1, -1, 12))


def test_agrees_with_scikit_image():
    grid = Grid(65, 65, 1)  # odd: both turn around the centre of a pixel
    x = blobs(grid, [(0.1, 0.15, 0.06), (-0.2, -0.05, 0.09)])
    a = draw(grid, angles=9)
    theirs = radon(x[0, 0].numpy(), np.arange(9) * 20.0, circle=False) / 65  # (bin, angle)
    at = (np.arange(len(theirs)) - len(theirs) // 2) / 65
    for k, mine in enumerate(a.forward(x)[0, 0].numpy()):
        np.testing.assert_allclose(mine, np.interp(places(a), at, theirs[:, k]), atol=3e-3)


def test_filtered_back_projection_is_as_good_as_that_of_scikit_image():
    phantom = resize(shepp_logan_phantom(), (65, 65), anti_aliasing=True)
    x = torch.from_numpy(phantom).expand(2, 1, -1, -1)
    a = draw(Grid(65, 65, 1), angles=90)
    mine = a.fbp(a.forward(x))[0, 0].numpy()
    angles = np.arange(90) * 2.0
    theirs = iradon(radon(phantom, angles, circle=False), angles, circle=False, output_size=65)
    error, reference = (np.sqrt(((z - phantom) ** 2).mean()) for z in (mine, theirs))
    assert error < 1.15 * reference < 0.3 * phantom.std()
    smooth = blobs(Grid(65, 65, 1), [(0.05, 0.1, 0.1)])
    np.testing.assert_allclose(a.fbp(a.forward(smooth)), smooth, atol=0.02)


@pytest.mark.parametrize("dense", [True, False])
def test_the_pseudo_inverse_explains_the_measurement(dense, monkeypatch):
    if not dense:
        monkeypatch.setattr("invkit_tomography.radon.DENSE", 0)
    a = draw(Grid(16, 20, 1), angles=10)
    x = blobs(Grid(16, 20, 1), [(0.1, 0.0, 0.1)])
    y = a.forward(x)
    p = a.pinv(y)
    assert (a.forward(p) - y).norm() < a.pinv_tolerance * y.norm()
    assert (p - x).norm() < 0.2 * x.norm()
    seen = a.pinv(torch.randn(2, *a.range_shape, dtype=torch.float64))
    matrix = a.forward(torch.eye(320, dtype=torch.float64).view(320, 1, 16, 20)).flatten(1)  # row: what a pixel gives
    torch.testing.assert_close(
        seen.flatten(1) @ (matrix @ torch.linalg.pinv(matrix)), seen.flatten(1)
    )  # all is measured


def test_a_smaller_arc_sees_less_and_says_so():
    limited, full = draw(Grid(16, 16, 1), arc=(0.0, 90.0)), draw(Grid(16, 16, 1))
    assert limited.range_weight == full.range_weight / 2 and limited.range_shape == full.range_shape == (1, 24, 23)
    for arc in ((0.0, 181.0), (90.0, 90.0), (10.0, 0.0)):
        with raises(ValidationError, "arc", 180):
            Tomography(arc=arc)
