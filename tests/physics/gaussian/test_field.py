import math

import pytest
import torch

from invkit.field import (
    FIELDS,
    Achromatic,
    FittedField,
    MaternField,
    SquaredExponentialField,
    SupposedField,
    WhiteField,
    base,
    dct,
    idct,
    inner,
    resample,
)
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


def test_a_supposed_law_goes_a_third_of_the_way_to_the_pictures_beyond_the_training():
    coarse, fine = Grid(8, 12), Grid(16, 24)
    law, truth = MaternField(std=0.5, length=0.2, exponent=1.3, color=0.5), MaternField(std=0.5, length=0.3, exponent=3)
    fitted = FittedField.fit(truth.sample(Keys.of(0, "fit", range(500)), coarse), coarse)
    field = SupposedField(law, fitted, cells=8)
    assert torch.equal(field.spectrum(coarse), law.spectrum(coarse))
    got, supposed, measured = (f.spectrum(fine) for f in (field, law, fitted))
    torch.testing.assert_close(got[..., :8, :12], supposed[..., :8, :12])
    power = [f.diagonal().sum(-1) for f in (got, supposed, measured)]
    for beyond in (slice(8, None), slice(None)), (slice(None), slice(12, None)):
        torch.testing.assert_close(power[0][beyond], (power[1] ** (2 / 3) * power[2] ** (1 / 3))[beyond])
        assert (power[0] < power[1])[beyond].all()  # the pictures are smoother
    torch.testing.assert_close(got / power[0], supposed / power[1])  # colours are the law's


@pytest.mark.parametrize(
    "law", [MaternField(padding=0.5), MaternField(basis="periodic"), SquaredExponentialField(length=1.0)]
)
def test_any_law_is_supposed(law):
    coarse, fine = Grid(8, 8), Grid(32, 32)
    fitted = FittedField.fit(MaternField().sample(Keys.of(0, "fit", range(100)), coarse), coarse)
    field = SupposedField(law, fitted, cells=8)
    assert torch.equal(field.spectrum(coarse), law.spectrum(coarse))
    got, supposed = field.spectrum(fine), law.spectrum(fine)
    assert got.isfinite().all() and (got.diagonal() >= 0).all() and not torch.equal(got, supposed)
    assert field.sample(Keys.of(0, "s", [0]), fine).shape == (1, 3, 32, 32)


def reflected(kernel, i, j, n, reach=6):
    """Covariance of the points i and j of the unit square under reflecting borders: a sum over mirror images."""
    total = 0.0
    for k in range(-reach, reach + 1):
        for l in range(-reach, reach + 1):
            for p in (2 * k + j[0], 2 * k - j[0]):
                for q in (2 * l + j[1], 2 * l - j[1]):
                    total += kernel(math.hypot(i[0] - p, i[1] - q))
    return total


def squared_exponential(length):
    return lambda r: math.exp(-(r**2) / (2 * length**2))


def unsquared(length):
    """The mutant of a published code: the distance is not squared."""
    return lambda r: math.exp(-r / (2 * length**2))


@pytest.mark.parametrize("n", [16, 24, 32, 64])
def test_squared_exponential_at_three_lags_against_mirror_images(n):
    length, grid = 0.12, Grid(n, n, 1)
    field = SquaredExponentialField(length=length)
    cell = lambda i: (i + 0.5) / n  # noqa: E731
    start = (n // 8, n // 2)
    probe = torch.zeros(1, 1, n, n, dtype=torch.float64)
    probe[0, 0, start[0], start[1]] = 1
    row = field.covariance(probe, grid)[0, 0]
    for lag in (0, n // 8, n // 4):
        i, j = (cell(start[0]), cell(start[1])), (cell(start[0] + lag), cell(start[1]))
        want = reflected(squared_exponential(length), i, j, n)
        assert float(row[start[0] + lag, start[1]]) == pytest.approx(want, rel=2e-3, abs=1e-4)
        if lag:
            assert float(row[start[0] + lag, start[1]]) != pytest.approx(reflected(unsquared(length), i, j, n), rel=0.2)


@pytest.mark.parametrize("name", ["matern", "squared-exponential"])
def test_trace_class_variance_does_not_depend_on_the_grid(name):
    field = FIELDS[name]()
    assert field.trace_class
    middle = {n: float(field.variance(Grid(n, n, 1))[0, n // 2, n // 2]) for n in (32, 64, 128, 256)}
    assert max(middle.values()) / min(middle.values()) < 1.01
    assert field.trace(Grid(256, 256, 1)) / field.trace(Grid(32, 32, 1)) < 1.01


def test_what_is_not_trace_class_says_so():
    assert not WhiteField().trace_class
    assert WhiteField().trace(Grid(64, 64, 1)) == pytest.approx(4 * WhiteField().trace(Grid(32, 32, 1)))
    slow = MaternField(exponent=1.1)
    assert slow.trace(Grid(256, 256, 1)) / slow.trace(Grid(32, 32, 1)) > 1.15  # far from converged on any grid in use
    with pytest.raises(ValueError, match="greater than 1"):
        MaternField(exponent=1.0)


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


def test_resampling_keeps_functions_of_the_band():
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    up = resample(x, (16, 15))
    torch.testing.assert_close(resample(up, (8, 6)), x)
    torch.testing.assert_close(resample(torch.ones(1, 1, 4, 4), (9, 5)), torch.ones(1, 1, 9, 5))
    fine = resample(torch.randn(1, 1, 16, 16, dtype=torch.float64), (8, 8))
    assert float(fine.square().sum()) > 0  # and what the coarse grid cannot hold is cut, not folded back
    k = (
        torch.cos(math.pi * 12 * (torch.arange(16, dtype=torch.float64) + 0.5) / 16)
        .view(1, 1, 1, 16)
        .expand(1, 1, 16, 16)
    )
    torch.testing.assert_close(resample(k, (8, 8)), torch.zeros(1, 1, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize("grid", [Grid(6, 5, 2), Grid(48, 50, 2)])  # from kept covariances, and by lags
@pytest.mark.parametrize("law", [MaternField(color=0.4), MaternField(basis="periodic"), MaternField(padding=0.5)])
def test_a_gram_between_two_sets_is_part_of_the_whole(law, grid):
    keys, like = Keys.of(0, "sets", range(2)), torch.zeros(0, dtype=torch.float64)
    points = keys.permutation("p", grid.pixels)[:, :9]
    whole = law.gram(grid, points, like)
    torch.testing.assert_close(law.gram(grid, points[:, :4], like, points[:, 2:]), whole[:, :8, 4:])
