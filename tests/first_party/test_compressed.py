"""Compressed sensing: the transform against SciPy's matrix, the operators against their matrices."""

import pytest
import torch
from invkit_compressed import CompressedHadamard, CompressedSigns
from invkit_compressed.hadamard import walsh_hadamard
from scipy.linalg import hadamard
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys

GRID = Grid(6, 9, 2)
KINDS = [CompressedSigns, CompressedHadamard]


def draw(kind, grid=GRID, **settings):
    return kind(**settings).sample(Keys.of(0, "op", [0, 1]), grid)


def matrix(a):
    """The matrices (B, m, n) of one channel."""
    n = a.grid.pixels
    units = torch.eye(n, dtype=torch.float64).view(n, 1, 1, *a.grid.shape).expand(-1, 2, a.grid.channels, -1, -1)
    return torch.stack([a.forward(unit)[:, 0] for unit in units], 2)


@pytest.mark.parametrize("size", [1, 2, 64])
def test_the_transform_is_that_of_scipy(size):
    x = torch.randn(3, size, dtype=torch.float64)
    expected = x @ torch.from_numpy(hadamard(size)).double() / size**0.5
    torch.testing.assert_close(walsh_hadamard(x), expected)
    torch.testing.assert_close(walsh_hadamard(walsh_hadamard(x)), x)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_signs_of_norm_one_drawn_for_each_image(kind):
    found = matrix(draw(kind, ratio=0.5))
    assert found.shape == (2, 27, 54)
    torch.testing.assert_close(found.abs(), torch.full_like(found, 54**-0.5))
    assert not torch.equal(found[0], found[1])
    share = float((found > 0).double().mean())
    assert abs(share - 0.5) < 4.5 * 0.5 / found.numel() ** 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [GRID, Grid(8, 8, 1)])
def test_the_pseudo_inverse_and_the_singular_values_are_those_of_the_matrix(kind, grid, monkeypatch):
    monkeypatch.setattr("invkit_compressed.base.CUTOFF", 1e-6)
    a = draw(kind, grid, ratio=0.4)
    assert a.orthogonal == (kind is CompressedHadamard and grid.pixels == 64)
    m = matrix(a)
    y = torch.randn(2, *a.range_shape, dtype=torch.float64)
    torch.testing.assert_close(a.pinv(y).flatten(2), y @ torch.linalg.pinv(m).mT)
    x = torch.randn(2, *grid.picture, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(m.mT @ m)
    gain = (values.clamp(min=0).sqrt() + 1).reciprocal()
    torch.testing.assert_close(
        a.spectral(lambda s: 1 / (s + 1), x).flatten(2), x.flatten(2) @ (vectors * gain[:, None]) @ vectors.mT,
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_a_matrix_that_is_too_large_is_refused():
    with raises(ValueError, "compressed-signs", "compressed-hadamard"):
        draw(CompressedSigns, Grid(512, 512, 1))
    assert draw(CompressedHadamard, Grid(512, 512, 1)).range_shape == (1, 26214)
