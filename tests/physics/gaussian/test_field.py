import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import Achromatic, MaternField, SquaredExponentialField, WhiteField, dct, idct, inner
from invkit.physics.gaussian import field as base


@pytest.mark.parametrize("shape", [(16, 16), (9, 14)])
def test_samples_have_the_stated_covariance(shape):
    grid = Grid(*shape, 2)
    field = MaternField(std=0.7, length=0.3, exponent=2, color=0.4)
    x = field.sample(Keys.of(0, "s", range(6000)), grid).double()
    probe = torch.zeros(1, *grid.picture, dtype=torch.float64)
    probe[0, 0, 4, 5] = 1
    want = field.covariance(probe, grid)[0]
    got = (x * x[:, 0, 4, 5].view(-1, 1, 1, 1)).mean(0)
    assert (got - want).abs().max() < 5 * float(want.max()) / math.sqrt(6000)


@pytest.mark.parametrize("field", [WhiteField(), MaternField()])
def test_one_draw_per_mode_on_every_grid(field):
    fine, coarse = Grid(24, 24), Grid(12, 12)
    x, y = (dct(field.sample(Keys.of(0, "g", [1, 2]), g).double()) * g.cell for g in (fine, coarse))
    torch.testing.assert_close(x[..., :12, :12], y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (7, 10)])
def test_a_periodic_field_is_stationary_on_the_torus(shape):
    grid, field = Grid(*shape, 1), MaternField(basis="periodic", length=0.2)
    n = grid.pixels
    matrix = field.covariance(torch.eye(n, dtype=torch.float64).view(n, *grid.picture), grid).view(*shape, *shape)
    rolled = torch.stack([matrix[r, c].roll((-r, -c), (0, 1)) for r in range(shape[0]) for c in range(shape[1])])
    torch.testing.assert_close(rolled, rolled[:1].expand_as(rolled))
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    torch.testing.assert_close(idct(dct(x, "periodic"), "periodic"), x)
    torch.testing.assert_close(dct(x, "periodic").square().sum(), x.square().sum())


def test_a_margin_makes_the_picture_stationary_up_to_its_border():
    grid = Grid(16, 16, 1)
    plain, padded = (SquaredExponentialField(length=0.1, padding=p).variance(grid)[0] for p in (0.0, 0.5))
    assert float(plain.max() / plain.min()) > 3
    assert float(padded.max() / padded.min()) == pytest.approx(1, abs=1e-3)
    field = SquaredExponentialField(length=0.1, padding=0.5)
    x = field.sample(Keys.of(0, "m", range(4000)), grid)
    assert x.shape == (4000, 1, 16, 16)
    assert float(x[:, 0, 0, 0].var()) == pytest.approx(float(padded[0, 0]), rel=0.1)


@pytest.mark.parametrize("field", [MaternField(color=0.3), SquaredExponentialField(basis="periodic", padding=0.25)])
@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
@pytest.mark.parametrize("kept", [base.DENSE_ENTRIES, 0], ids=["kept", "computed"])
def test_gram_columns_and_variance_are_parts_of_the_covariance(field, shape, kept, monkeypatch):
    monkeypatch.setattr(base, "DENSE_ENTRIES", kept)
    grid = Grid(*shape, 2)
    n = grid.pixels * 2
    matrix = field.covariance(torch.eye(n, dtype=torch.float64).view(n, *grid.picture), grid).reshape(2, -1, 2, *shape)
    points = torch.tensor([[0, 7, grid.pixels - 1]])
    columns = field.columns(grid, points, matrix)[0]  # (n, C, C, H, W)
    torch.testing.assert_close(columns, matrix[:, points[0]].transpose(0, 1))
    gram = field.gram(grid, points, matrix)[0].view(3, 2, 3, 2)
    torch.testing.assert_close(gram, columns.flatten(3)[..., points[0]].permute(0, 1, 3, 2))
    own = torch.stack([matrix[c, :, c].flatten(1).diagonal() for c in range(2)])
    torch.testing.assert_close(field.variance(grid), own.view(2, *shape))


def test_powers_of_the_covariance_operator():
    grid, field = Grid(6, 9, 2), MaternField(length=0.3, color=0.5)
    x, y = torch.randn(2, 2, 6, 9, dtype=torch.float64)
    half = field.operator(field.operator(x, grid, 0.5), grid, 0.5)
    torch.testing.assert_close(half, field.operator(x, grid, 1.0))
    torch.testing.assert_close(half, field.covariance(x, grid) * grid.area)
    torch.testing.assert_close(field.operator(field.operator(x, grid, -0.5, 1e-9), grid, 0.5), x)
    torch.testing.assert_close(
        inner(field.operator(x, grid, 1.0), y, grid), inner(x, field.operator(y, grid, 1.0), grid)
    )


def test_achromatic_is_the_mean_of_the_channels():
    grid, field = Grid(8, 8), MaternField(std=0.7, color=0.5)
    grey = Achromatic(field, 3)
    torch.testing.assert_close(grey.spectrum(Grid(8, 8, 1))[0, 0], field.spectrum(grid)[1, 1])


@pytest.mark.parametrize("grid", [Grid(6, 5, 2), Grid(48, 50, 2)])  # from kept covariances, and by lags
@pytest.mark.parametrize("law", [MaternField(color=0.4), MaternField(basis="periodic"), MaternField(padding=0.5)])
def test_a_gram_between_two_sets_is_part_of_the_whole(law, grid):
    keys, like = Keys.of(0, "sets", range(2)), torch.zeros(0, dtype=torch.float64)
    points = keys.permutation("p", grid.pixels)[:, :9]
    whole = law.gram(grid, points, like)
    torch.testing.assert_close(law.gram(grid, points[:, :4], like, points[:, 2:]), whole[:, :8, 4:])
