"""Cartesian MRI: values against NumPy's Fourier transform, patterns, maps, pseudo-inverses, phantoms."""

import numpy as np
import pytest
import torch
from invkit_mri import MRI, Phantoms
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.testing import check_dataset, check_degradation

GRID = Grid(12, 10, 2)


def draw(grid=GRID, count=2, **settings):
    return MRI(**settings).sample(Keys.of(0, "op", range(count)), grid)


def images(grid=GRID, count=2):
    return torch.randn(count, *grid.picture, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def k_space(x, maps):
    """Complex k-space (coils, H, W) of an image (2, H, W) by NumPy."""
    z = maps * (x[0] + 1j * x[1])
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(z, (1, 2)), norm="ortho"), (1, 2))


@pytest.mark.parametrize("coils", [1, 3])
def test_values_are_those_of_numpy(coils):
    a, x = draw(coils=coils, acceleration=2), images()
    y = a.forward(x).numpy()
    assert y.shape == (2, coils, 2, 6, 10) == (2, *a.range_shape)
    maps = a.maps[0].numpy()
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(0), 1)
    for b in range(2):
        expected = k_space(x[b].numpy(), maps)[:, a.lines[b].numpy()]
        np.testing.assert_allclose(y[b, :, 0] + 1j * y[b, :, 1], expected, atol=1e-12)


def test_real_images_are_complex_ones_without_an_imaginary_part():
    x = images(Grid(12, 10, 3))
    y = draw(Grid(12, 10, 3)).forward(x)
    for c in range(3):
        alone = draw().forward(torch.stack([x[:, c], torch.zeros_like(x[:, c])], 1))
        torch.testing.assert_close(y[:, :, [c, c + 3]], alone)


def test_all_lines_of_normalised_coils_give_the_image():
    a, x = draw(coils=4, acceleration=1), images()
    torch.testing.assert_close(a.adjoint(a.forward(x)), x)
    torch.testing.assert_close(a.pinv(a.forward(x)), x)


@pytest.mark.parametrize("grid", [Grid(9, 8, 2), Grid(8, 5, 1)])
@pytest.mark.parametrize("coils", [1, 3])
def test_the_pseudo_inverse_and_the_singular_values_are_those_of_the_matrix(grid, coils, monkeypatch):
    monkeypatch.setattr("invkit_mri.cartesian.CUTOFF", 1e-6)
    a = draw(grid, 1, coils=coils, acceleration=2.5)
    n = int(np.prod(grid.picture))
    units = torch.eye(n, dtype=torch.float64).view(n, *grid.picture)
    matrix = a.repeat(n).forward(units).flatten(1).T  # (values, n)
    y = matrix @ torch.randn(n, dtype=torch.float64)
    torch.testing.assert_close(
        a.pinv(y.view(1, *a.range_shape)).flatten(), torch.linalg.pinv(matrix, rtol=1e-7) @ y, rtol=1e-5, atol=1e-7
    )
    x = images(grid, 1)
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    expected = vectors @ ((values.clamp(min=0) / (values.clamp(min=0) + 0.3)) * (vectors.T @ x.flatten()))
    torch.testing.assert_close(a.spectral(lambda s: s**2 / (s**2 + 0.3), x).flatten(), expected, rtol=1e-6, atol=1e-8)


def test_patterns_keep_the_calibration_region_and_the_number_of_lines():
    grid = Grid(64, 8, 2)
    for pattern in ("variable", "random", "equispaced"):
        lines = draw(grid, 300, pattern=pattern, calibration=0.1, acceleration=4).lines
        assert lines.shape == (300, 16) and bool((lines.diff(dim=1) > 0).all())
        centre = torch.arange(29, 35)
        assert bool((lines[:, :, None] == centre).any(1).all())
    (even,) = {tuple(row.tolist()) for row in lines}
    others = np.diff([n for n in even if n not in centre.tolist()])
    assert set(others) <= {5, 6, 11, 12}  # 10 of 58, also across the region
    near, uniform = (draw(grid, 2000, pattern=p, calibration=0.0, acceleration=8).lines for p in ("variable", "random"))
    shares = torch.bincount(uniform.flatten(), minlength=64) / 2000
    assert float((shares - 1 / 8).abs().max()) < 4.5 * (1 / 8 * 7 / 8 / 2000) ** 0.5
    assert (
        float(((near - 32).abs() < 16).float().mean()) > 0.75 > 0.55 > float(((uniform - 32).abs() < 16).float().mean())
    )


def test_maps_of_a_file(tmp_path):
    file = tmp_path / "maps.npy"
    np.save(file, np.array([[[3.0, 3.0], [3.0, 3.0]], [[4j, 4j], [4j, 4j]]]))
    maps = draw(maps=str(file)).maps[0]
    torch.testing.assert_close(maps[:, 5, 5], torch.tensor([0.6, 0.8j], dtype=torch.complex128))
    np.save(file, np.ones((2, 2)))
    with raises(DataError, "maps.npy", "(coils, height, width)"):
        draw(maps=str(file))


def test_conforms_on_complex_images():
    check_degradation(MRI(coils=2), draws=2, grids=[Grid(9, 12, 2)]).raise_for_failures()
    check_dataset(Phantoms).raise_for_failures()


def test_a_phantom_is_the_same_on_every_grid():
    coarse, fine = (Phantoms().open("test", Grid(n, n, 2), 0)[[0, 1]] for n in (32, 96))
    assert float((torch.nn.functional.avg_pool2d(fine, 3) - coarse).abs().mean()) < 0.01
    size = fine.norm(dim=1)
    assert float(size.max()) <= 1 + 1e-6 and float(size[:, 0].max()) == 0  # nothing at the upper border
    assert float(fine[:, 1].abs().mean()) > 0.02
