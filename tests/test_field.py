import math

import pytest
import torch

from invkit.field import FittedField, MaternField, WhiteField, dct, idct
from invkit.grid import Grid
from invkit.keys import Keys


def test_dct_is_orthonormal_and_inverted():
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(idct(dct(x)), x)
    torch.testing.assert_close(dct(x).square().sum(), x.square().sum())


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


@pytest.mark.parametrize("n", [8, 16, 32])
def test_covariance_against_the_truncated_double_sum(n):
    """The operator's covariance of two cells, from the definition: a sum over cosines, no DCT."""
    grid, a, length = Grid(n, n, 1), 2.0, 0.25
    field = MaternField(length=length, exponent=a)
    tau2 = 2 * (a - 1) / length**2
    place = lambda i: (i + 0.5) / n  # noqa: E731
    for i, j in (((1, 2), (1, 2)), ((1, 2), (3, 5)), ((0, 0), (n - 1, 4))):
        total = 0.0
        for k in range(n):
            for l in range(n):
                norm = (2 if k else 1) * (2 if l else 1)
                power = 4 * math.pi * (a - 1) * tau2 ** (a - 1) * (tau2 + math.pi**2 * (k**2 + l**2)) ** -a
                waves = [math.cos(math.pi * f * place(p)) for f, p in ((k, i[0]), (l, i[1]), (k, j[0]), (l, j[1]))]
                total += norm * power * math.prod(waves)
        probe = torch.zeros(1, 1, n, n, dtype=torch.float64)
        probe[0, 0, i[0], i[1]] = 1
        assert float(field.covariance(probe, grid)[0, 0, j[0], j[1]]) == pytest.approx(total, rel=1e-9)


def test_matern_has_its_deviation_and_white_scales_with_the_grid():
    assert MaternField(std=2.0, length=0.05).deviation(Grid(128, 128)) == pytest.approx(2.0, rel=0.08)
    assert WhiteField().deviation(Grid(32, 32)) == pytest.approx(1.0)
    assert WhiteField().deviation(Grid(64, 64)) == pytest.approx(2.0)


@pytest.mark.parametrize("field", [WhiteField(), MaternField()])
def test_one_draw_per_mode_on_every_grid(field):
    fine, coarse = Grid(24, 24), Grid(12, 12)
    x, y = (dct(field.sample(Keys.of(0, "g", [1, 2]), g).double()) * g.cell for g in (fine, coarse))
    torch.testing.assert_close(x[..., :12, :12], y, rtol=1e-3, atol=1e-5)


def test_a_fit_recovers_the_field_it_was_drawn_from():
    grid = Grid(16, 16)
    truth = MaternField(std=0.5, length=0.3, exponent=2, color=0.6)
    x = truth.sample(Keys.of(0, "fit", range(4000)), grid) + 0.25
    fitted = FittedField.fit(x, grid)
    want, got = truth.spectrum(grid), fitted.spectrum(grid)
    assert ((got - want).abs() / want).median() < 0.05
    assert fitted.mean(grid).tolist() == pytest.approx([0.25] * 3, abs=0.05)
    fine = Grid(32, 32)  # extrapolated beyond the band: right to a factor
    ratio = fitted.spectrum(fine)[0, 0, 20:, 20:] / truth.spectrum(fine)[0, 0, 20:, 20:]
    assert float(ratio.min()) > 0.3 and float(ratio.max()) < 3
    torch.testing.assert_close(fitted.spectrum(fine)[..., :15, :15], got[..., :15, :15])
