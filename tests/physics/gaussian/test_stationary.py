import math

import pytest
import torch
from support.messages import raises

from invkit.core.grid import Grid
from invkit.physics.gaussian import FIELDS, MaternField, SquaredExponentialField, WhiteField


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
    assert MaternField(std=2.0, length=0.05).pixel_std(Grid(128, 128)) == pytest.approx(2.0, rel=0.08)
    assert WhiteField().pixel_std(Grid(32, 32)) == pytest.approx(1.0)
    assert WhiteField().pixel_std(Grid(64, 64)) == pytest.approx(2.0)


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
    with raises(ValueError, "exponent", 1):
        MaternField(exponent=1.0)
