import pytest
import torch
from support.toy_operators import GRID, OPERATORS, matrix, random

from invkit.core.grid import Grid
from invkit.physics.operators.least_squares import least_squares, ridge
from invkit.physics.operators.separable import Separable


def operator(batch: int = 4) -> Separable:
    rows = torch.randn(1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns = torch.randn(1, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Separable(batch, Grid(5, 7), rows=rows, columns=columns)  # neither injective nor onto


def test_finds_the_picture_of_least_norm_whatever_its_batch():
    a = operator()
    y = torch.randn(4, *a.range_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x = least_squares(a, y, 1e-12, 200)
    torch.testing.assert_close(x, a.pinv(y), rtol=0, atol=1e-9)
    y[2] *= 1e-3  # another scale, another number of steps
    loose = least_squares(a, y, 1e-2)
    torch.testing.assert_close(torch.cat([least_squares(a[i : i + 1], y[i : i + 1], 1e-2) for i in range(4)]), loose)


def test_reaches_the_tolerance_and_no_more():
    a = operator()
    y = a.forward(torch.randn(4, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    errors = {}
    for tolerance in (1e-1, 1e-6):
        left = (a.forward(least_squares(a, y, tolerance)) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
        errors[tolerance] = float(left.max())
    assert errors[1e-6] <= 1e-6 < errors[1e-1] <= 1e-1


def test_nothing_measured_is_a_picture_of_zeros():
    assert not least_squares(operator(), torch.zeros(4, 3, 6, 3)).any()
    assert not least_squares(operator(), torch.ones(4, 3, 6, 3), max_steps=0).any()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_ridge_against_dense_solutions(name, damping, monkeypatch):
    monkeypatch.setattr("invkit.physics.operators.least_squares.TOLERANCE", 1e-10)
    operator = OPERATORS[name]
    r = operator.forward(random(2, *GRID.picture)) + 0.1 * operator.measured(random(2, *operator.range_shape))
    found = ridge(operator, r, damping)
    for i in range(2):
        a = matrix(operator, i)
        want = (
            torch.linalg.pinv(a, rtol=1e-10)
            if damping == 0
            else a.T @ torch.linalg.inv(a @ a.T + damping * torch.eye(len(a)))
        )
        near = 2e-3 if name == "composed" and damping == 0 else 1e-8  # its pseudo-inverse is iterative
        torch.testing.assert_close(found[i].flatten(), want @ r[i].flatten(), rtol=near, atol=near)
