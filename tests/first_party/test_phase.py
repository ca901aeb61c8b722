"""Phase retrieval: magnitudes by NumPy, what they cannot tell, and the initial image."""

import numpy as np
import pytest
import torch
from invkit_phase import CodedDiffraction, FourierMagnitudes
from invkit_phase.magnitudes import FLOOR

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.photos import Photos
from invkit.physics.gaussian import FittedField
from invkit.physics.gaussian.laplace import LaplacePosterior
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.base import Operator

GRID = Grid(6, 5, 2)


def draw(kind, grid=GRID, **settings):
    return kind(**settings).sample(Keys.of(0, "op", [0, 1]), grid)


def images(grid=GRID):
    return Keys.of(0, "x", [0, 1]).uniform("x", *grid.picture).double() * 2 - 1


def test_magnitudes_are_those_of_numpy():
    x = images()
    u = (x.numpy() + 1) / 2
    padded = draw(FourierMagnitudes, oversampling=1.5).forward(x).numpy()[:, :, 0]
    expected = np.abs(np.fft.fft2(u, s=(9, 8), norm="ortho"))
    np.testing.assert_allclose(padded, np.hypot(expected, FLOOR))
    coded = draw(CodedDiffraction, patterns=3)
    masks = coded.masks.numpy()
    assert set(np.round(masks.flatten(), 12)) == {1, 1j, -1, -1j}
    expected = np.abs(np.fft.fft2(masks[:, None] * u[:, :, None], norm="ortho"))
    np.testing.assert_allclose(coded.forward(x).numpy(), np.hypot(expected, FLOOR))


def test_fourier_magnitudes_cannot_tell_turned_and_shifted_images_and_coded_ones_can():
    x = images()
    x[..., -1] = -1  # the last column is black, so that the image may be shifted
    others = x.flip(2, 3), x.roll(1, 3)
    for kind, same in ((FourierMagnitudes, True), (CodedDiffraction, False)):
        a = draw(kind)
        assert all(torch.allclose(a.forward(other), a.forward(x)) == same for other in others)
        torch.testing.assert_close(a.forward(-2 - x), a.forward(x))  # the sign of (x + 1) / 2


@pytest.mark.parametrize("kind", [FourierMagnitudes, CodedDiffraction])
def test_derivatives(kind):
    a, x = draw(kind), images()
    u, v = torch.randn_like(x), torch.randn(2, *a.range_shape, dtype=torch.float64)
    change = (a.forward(x + 1e-6 * u) - a.forward(x - 1e-6 * u)) / 2e-6
    torch.testing.assert_close(a.jvp(x, u), change, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(a.vjp(x, v), Operator.vjp(a, x, v))


def test_the_initial_image_of_coded_diffraction_is_the_image_where_nothing_hides_it():
    grid = Grid(32, 32, 3)
    x, train = Photos().open("test", grid, 0)[[0, 1]], Photos().open("train", grid, 0)[range(96)]
    operator = draw(CodedDiffraction, grid, patterns=4)
    found = operator.initial(operator.forward(x))
    assert float((found - x).square().mean().sqrt()) < 0.1 * float(x.std())
    noisy = measure(operator, x, Noise(sigma=0.05), Keys.of(0, "n", [0, 1]))
    initial, gaussian = operator.initial(noisy.y), LaplacePosterior(FittedField.fit(train, grid), noisy, 3).mean()
    errors = [float((z - x).square().mean().sqrt()) for z in (initial, gaussian)]
    assert errors[1] < 0.8 * errors[0] < 0.12
