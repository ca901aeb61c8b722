import math

import torch

from invkit.physics.gaussian import dct, idct, resample


def test_dct_is_orthonormal_and_inverted():
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(idct(dct(x)), x)
    torch.testing.assert_close(dct(x).square().sum(), x.square().sum())


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
