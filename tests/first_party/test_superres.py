import numpy as np
import pytest
import torch
from invkit_superres import BicubicDownsampling, BlockMean, GaussianDownsampling
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage
from torch.nn import functional as F

from invkit.core.grid import Grid
from invkit.core.keys import Keys


def draw(degradation, grid, n=2):
    return degradation.sample(Keys.of(0, "op", range(n)), grid)


def pictures(grid, n=2):
    return torch.randn(n, *grid.picture, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("factor", "shape"), [(4, (8, 6)), (2, (16, 12)), (1, (32, 24)), (64, (1, 1))])
def test_whole_factors_are_pooling(factor, shape):
    grid = Grid(32, 24)
    x, a = pictures(grid), draw(BlockMean(factor=factor), grid)
    assert a.range_shape == (3, *shape) and a.range_weight == pytest.approx(grid.area * 32 * 24 / shape[0] / shape[1])
    torch.testing.assert_close(a.forward(x), F.adaptive_avg_pool2d(x, shape))


@pytest.mark.parametrize("factor", [2.5, 1.3, 3.7])
def test_other_factors_are_exact_areas(factor):
    grid = Grid(10, 16)
    x, a = pictures(grid), draw(BlockMean(factor=factor), grid)
    _, m, n = a.range_shape
    assert (m, n) == (round(10 / factor), round(16 / factor))
    common = x.repeat_interleave(m, 2).repeat_interleave(n, 3)  # cells small enough for both
    torch.testing.assert_close(a.forward(x), F.avg_pool2d(common, (10, 16)))


@pytest.mark.parametrize("factor", [4.0, 2.5, 1.6])
def test_bicubic_agrees_with_torch_and_pillow(factor):
    grid = Grid(24, 36)
    x, a = pictures(grid), draw(BicubicDownsampling(factor=factor), grid)
    size = a.range_shape[1:]
    expected = F.interpolate(x, size=size, mode="bicubic", antialias=True)
    torch.testing.assert_close(a.forward(x), expected, rtol=0, atol=1e-7)
    image = Image.fromarray(x[0, 0].numpy().astype(np.float32))
    pillow = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_allclose(a.forward(x)[0, 0].numpy(), pillow, atol=1e-5)


def test_gaussian_agrees_with_scipy_inside():
    grid = Grid(45, 45)
    x, a = pictures(grid), draw(GaussianDownsampling(factor=3.0, width=0.5), grid)
    blurred = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), truncate=12)[:, :, 1::3, 1::3]
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(a.forward(x).numpy()[inside], blurred[inside], atol=1e-10)


@pytest.mark.parametrize("cls", [BlockMean, GaussianDownsampling, BicubicDownsampling])
def test_a_constant_stays_and_rows_are_solved(cls):
    a = draw(cls(factor=2.3), Grid(17, 30))
    torch.testing.assert_close(a.forward(torch.ones(2, 3, 17, 30)), torch.ones(2, *a.range_shape))
    y = torch.randn(2, *a.range_shape, dtype=torch.float64)
    torch.testing.assert_close(a.forward(a.pinv(y)), y)


def test_a_narrow_filter_and_bad_settings():
    x = pictures(Grid(9, 9))
    narrow = draw(GaussianDownsampling(factor=3, width=1e-3), Grid(9, 9)).forward(x)
    torch.testing.assert_close(narrow, x[:, :, 1::3, 1::3])
    with pytest.raises(ValidationError):
        BlockMean(factor=0.5)
