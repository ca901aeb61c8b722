import pytest
import torch

from invkit.core.grid import Grid
from invkit.physics.operators.separable import Separable


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def some(batch: int = 3, own: bool = False, cutoff: float = 0.0) -> Separable:
    n = batch if own else 1
    return Separable(batch, Grid(6, 9), matrices(n, 2, 3), matrices(n, 8, 6, seed=1), matrices(n, 4, 9, seed=2), cutoff)


def dense(a: Separable, item: int = 0) -> torch.Tensor:
    """The matrix that acts on flat pictures."""
    color, rows, columns = (m[item if len(m) > 1 else 0] for m in (a.color, a.rows, a.columns))
    return torch.kron(color, torch.kron(rows, columns))


@pytest.mark.parametrize("own", [False, True])
def test_agrees_with_the_kronecker_product(own):
    a = some(own=own)
    x, y = matrices(3, *a.grid.picture, seed=3), matrices(3, *a.range_shape, seed=4)
    weight = a.range_weight / a.grid.area
    for i in range(3):
        matrix = dense(a, i)
        torch.testing.assert_close(a.forward(x)[i].flatten(), matrix @ x[i].flatten())
        torch.testing.assert_close(a.adjoint(y)[i].flatten(), weight * matrix.T @ y[i].flatten())
        torch.testing.assert_close(a.pinv(y)[i].flatten(), torch.linalg.pinv(matrix) @ y[i].flatten())


def test_measures_a_picture_of_cells_on_the_same_domain():
    a = some()
    assert a.range_shape == (2, 8, 4) and a.range_weight * 8 * 4 == pytest.approx(a.grid.area * a.grid.pixels)
    assert Separable(3, Grid(6, 9)).range_shape == (3, 6, 9) and Separable(3, Grid(6, 9)).range_weight == 1 / 36


def test_without_matrices_it_is_the_identity():
    a, x = Separable(2, Grid(4, 5)), matrices(2, 3, 4, 5)
    for image in (a.forward(x), a.adjoint(x), a.pinv(x)):
        torch.testing.assert_close(image, x, rtol=1e-15, atol=0)


def test_the_weakest_singular_values_are_left_out_up_to_the_cutoff():
    a = some(cutoff=0.3)
    assert a.pinv_tolerance == pytest.approx(0.9) and some().pinv_tolerance == 0
    y, matrix = matrices(3, *a.range_shape), dense(a)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    left = next(k for k in range(len(s)) if s[k:].norm() <= 0.3 * s.norm())
    assert 0 < left < len(s) and s[left - 1 :].norm() > 0.3 * s.norm()
    rebuilt = vh[:left].T @ (u[:, :left].T @ y[0].flatten() / s[:left])
    torch.testing.assert_close(a.pinv(y)[0].flatten(), rebuilt)


@pytest.mark.parametrize("own", [False, True])
def test_slices_and_repeats_keep_their_matrices(own):
    a, x = some(own=own), matrices(3, 3, 6, 9)
    assert len(a[1:]) == 2 and len(a.repeat(4)) == 12
    torch.testing.assert_close(a[1:].forward(x[1:]), a.forward(x)[1:])
    torch.testing.assert_close(a.repeat(2).forward(x.repeat(2, 1, 1, 1))[3:], a.forward(x))
    one = some(batch=1).repeat(5)
    assert len(one) == 5 and len(one.rows) == 1 and len(one[1:3]) == 2


def test_works_in_the_type_of_the_picture():
    a = some()
    assert a.forward(torch.ones(3, 3, 6, 9)).dtype == a.pinv(torch.ones(3, *a.range_shape)).dtype == torch.float32
