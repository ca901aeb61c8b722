import pytest
import torch
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.operators.mask import Mask


def mask(batch: int = 3, shape=(1, 5, 7)) -> Mask:
    return Mask(Keys.of(0, "m", range(batch)).uniform("m", *shape) < 0.4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_is_its_own_adjoint_in_the_stated_products(channels):
    a = mask(shape=(channels, 5, 7))
    x, y = torch.randn(3, 3, 5, 7, dtype=torch.float64), torch.randn(3, *a.range_shape, dtype=torch.float64)
    left = (a.forward(x) * y).sum((1, 2, 3)) * a.range_weight
    right = (x * a.adjoint(y)).sum((1, 2, 3)) * a.grid.area
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(a.forward(a.pinv(a.forward(x))), a.forward(x))


def test_channels_and_grid_follow_from_the_mask():
    assert mask().grid == Grid(5, 7, 3) and mask(shape=(2, 5, 7)).grid == Grid(5, 7, 2)
    assert Mask(mask().observed, 1).range_shape == (1, 5, 7)
    with raises(ValueError, 2, 3):
        Mask(mask(shape=(2, 5, 7)).observed, 3)
    with raises(ValueError, "Mask", "torch.float32"):
        Mask(torch.ones(3, 1, 5, 7))


def test_slices_and_repeats_keep_their_pictures():
    a = mask()
    assert torch.equal(a[1:].observed, a.observed[1:]) and len(a[1:]) == 2
    again = a.repeat(2)
    assert torch.equal(again.observed, torch.cat([a.observed, a.observed])) and again.channels == 3
    with pytest.raises(AttributeError):
        a.observed = None
