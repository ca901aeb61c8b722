import numpy as np
import torch

from invkit.core.grid import Grid
from invkit.data.arrays import ArrayImages


def test_ids_follow_the_order_and_coarse_grids_are_averages():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    order, names = np.array([2, 0, 3]), list("abcd")
    fine = ArrayImages(pixels, order, names, Grid(8, 8))
    assert len(fine) == 3 and [fine.group(i) for i in range(3)] == ["c", "a", "d"]
    expected = torch.from_numpy(pixels[[3, 2]]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(fine[[2, 0]], expected, atol=1e-6)
    coarse = ArrayImages(pixels, order, names, Grid(4, 4))[[2, 0]]
    assert torch.allclose(coarse, torch.nn.functional.avg_pool2d(expected, 2), atol=1e-5)
    wide = ArrayImages(pixels, order, names, Grid(4, 8))[[2, 0]]
    assert torch.allclose(wide, expected[:, :, 2:6], atol=1e-5)
