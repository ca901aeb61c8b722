import warnings

import numpy as np
import pytest
import torch
from support.messages import raises, warns

from invkit.core.grid import Grid
from invkit.physics.points import binned, measure_points


@pytest.mark.parametrize("digits", [None, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [7, 49, 98, 300, 509])
def test_a_point_on_a_border_belongs_to_the_later_cell(n, dtype, digits):
    """Though k/n is rounded, every cell k receives the point k/n, and that only."""
    x = (torch.arange(n, dtype=torch.float64) / n).to(dtype)
    x = x if digits is None else torch.tensor([float(f"{value:.{digits}f}") for value in x.tolist()], dtype=dtype)
    values = torch.arange(n, dtype=torch.float64)[:, None]
    assert torch.equal(
        binned(measure_points(torch.stack([x, x], 1), values, Grid(n, n, 1))).y[0, 0].diagonal(), values[:, 0].float()
    )
    assert bool(binned(measure_points(torch.stack([x * 0, x + 0.99 / n], 1), values, Grid(n, 1, 1))).observed.all())


def test_points_fall_to_their_cell_and_share_it():
    m = measure_points(
        torch.tensor(
            [[[0.0, 0.0], [0.99, 0.01], [1.0, 1.0], [0.9, 0.95]], [[0.3, 0.6], [0.5, 0.5], [0.26, 0.74], [0.3, 0.6]]]
        ),
        torch.tensor([[[0.1], [0.2], [0.3], [0.5]], [[0.3], [0.9], [0.0], [0.3]]]),
        Grid(4, 4, 1),
    )
    m = binned(m)
    first = torch.zeros(4, 4)
    first[0, 0], first[0, 3], first[3, 3] = 0.1, 0.2, 0.4
    second = torch.zeros(4, 4)
    second[2, 1], second[2, 2] = 0.2, 0.9  # x is across, y is down; (0.5, 0.5) belongs to the later cell
    torch.testing.assert_close(m.y, torch.stack([first, second])[:, None])
    assert torch.equal(m.observed, m.y != 0)


def test_wide_grids_use_both_axes():
    m = measure_points(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5, 0.5]]), Grid(2, 10))
    assert binned(m).observed.nonzero().tolist() == [[0, 0, 0, 9]]


@pytest.mark.parametrize("bad", [(1.01, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_points_outside_are_refused(bad):
    with raises(ValueError, 1, 0):
        measure_points(torch.tensor([[0.5, 0.5], bad]), torch.zeros(2, 3), Grid(8, 8))


def test_values_that_do_not_fit_are_refused():
    with raises(ValueError, "(B, N, 3)", "(1, 5, 1)"):
        measure_points(torch.rand(5, 2), torch.zeros(5, 1), Grid(8, 8))
    with raises(ValueError):
        measure_points(torch.rand(1, 2), torch.full((1, 3), float("inf")), Grid(8, 8))


def test_arrays_and_lists_are_points_too():
    at, values = [[0.1, 0.6], [0.2, 0.9]], np.array([[0.5], [0.1]])
    m = measure_points(at, values, Grid(2, 2, 1))
    assert m.y.tolist() == [[[0.5, pytest.approx(0.1)]]]
    assert binned(m).y[0, 0].tolist() == [[0, 0], [pytest.approx(0.3), 0]]
    with raises(ValueError, "values", "array"):
        measure_points(at, "many", Grid(2, 2, 1))
    with raises(ValueError, "coordinates", "array"):
        measure_points([[0.1, 0.6], [0.2]], values, Grid(2, 2, 1))


def test_points_in_half_of_the_domain_are_reported():
    """On a domain twice as wide as high, coordinates in units of the width fill its upper half."""
    at, values = np.random.default_rng(0).random((20, 2)), np.zeros((20, 3))
    with warns("0.49", "width", "height"):
        measure_points(at * [1, 0.5], values, Grid(24, 48))
    with warns("width", "height"):
        measure_points(at * [1, 0], values, Grid(24, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure_points(at, values, Grid(24, 48))
        measure_points(at[:11] * [1, 0.5], values[:11], Grid(24, 48))
