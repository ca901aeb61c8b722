"""Values at points: against the closed form of cosines, and the algebra of an operator."""

import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.operators.points import PointValues

GRID = Grid(6, 9, 2)
AT = Keys.of(0, "at", [0, 1]).uniform("at", 14, 2).double()


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("k", "l"), [(0, 0), (1, 0), (3, 2), (5, 8)])
def test_a_cosine_is_evaluated_where_the_points_are(k, l):
    """The image `cos(pi k v) cos(pi l u)`, known at cell centres, has this value at every point."""
    rows, columns = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in GRID.shape)
    x = torch.cos(math.pi * k * rows)[:, None] * torch.cos(math.pi * l * columns)
    y = PointValues(GRID, AT).forward(x.expand(2, 2, 6, 9))
    u, v = AT.unbind(2)
    want = torch.cos(math.pi * k * v) * torch.cos(math.pi * l * u)
    torch.testing.assert_close(y, want[:, None].expand(2, 2, 14), atol=1e-12, rtol=0)


def test_at_cell_centres_it_is_a_mask():
    at = torch.tensor([[[2.5 / 9, 1.5 / 6], [8.5 / 9, 5.5 / 6]]], dtype=torch.float64)
    x = random(1, 2, 6, 9)
    torch.testing.assert_close(
        PointValues(GRID, at).forward(x), torch.stack([x[:, :, 1, 2], x[:, :, 5, 8]], 2), atol=1e-12, rtol=0
    )


def test_the_algebra_of_an_operator():
    a, x, y = PointValues(GRID, AT), random(2, *GRID.picture), random(2, 2, 14)
    assert a.range_shape == (2, 14) and len(a) == 2
    inner = (a.forward(x) * y).sum((1, 2)) * a.range_weight
    torch.testing.assert_close(inner, (x * a.adjoint(y)).sum((1, 2, 3)) * GRID.area)
    torch.testing.assert_close(a.forward(a.pinv(y)), y, atol=1e-2, rtol=0)
    matrix = a.matrix[0]
    want = (torch.linalg.pinv(matrix) @ y[0].T).T.view(2, 6, 9)
    torch.testing.assert_close(a.pinv(y)[0], want, atol=1e-2, rtol=0)
    assert a.forward(x.float()).dtype == torch.float32
    torch.testing.assert_close(a[1:].forward(x[1:]), a.forward(x)[1:])
    torch.testing.assert_close(a.repeat(2).forward(torch.cat([x, x])), torch.cat([a.forward(x)] * 2))
