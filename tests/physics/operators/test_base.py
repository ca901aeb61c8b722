import pytest
import torch
from support.toy_operators import GRID, OPERATORS, matrix, random


@pytest.mark.parametrize("name", ["mask", "separable", "convolution"])
def test_functions_of_an_operator_against_a_decomposition(name):
    operator, x = OPERATORS[name], random(2, *GRID.picture)
    found = operator.spectral(lambda s: torch.exp(-s) + (s == 0), x)
    assert found is not None and found.dtype == x.dtype
    assert operator.spectral(torch.ones_like, x.float()).dtype == torch.float32
    for i in range(2):
        _, s, vh = torch.linalg.svd(matrix(operator, i))
        s = torch.cat([s, s.new_zeros(len(vh) - len(s))])
        want = vh.T @ torch.where(s > 1e-10, torch.exp(-s), 2.0).diag() @ vh
        torch.testing.assert_close(found[i].flatten(), want @ x[i].flatten(), rtol=0, atol=1e-9)
    assert OPERATORS["composed"].spectral(torch.ones_like, x) is None
