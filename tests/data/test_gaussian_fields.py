import pytest
import torch
from torch.nn.functional import avg_pool2d

from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields


def test_draws_are_keyed_and_splits_are_independent():
    train, test = (Fields(train_size=50, test_size=9).open(split, Grid(8, 8), 0) for split in ("train", "test"))
    assert (len(train), len(test)) == (50, 9) and len(Fields().open("train", Grid(8, 8), 0, limit=5)) == 5
    assert torch.equal(train[[7, 3]][1:], train[[3]])
    assert not torch.equal(train[[3]], test[[3]])
    assert not torch.equal(train[[3]], Fields().open("train", Grid(8, 8), 1)[[3]])


def test_a_finer_grid_shows_the_same_draw_refined():
    coarse, fine = (Fields().open("test", Grid(n, n), 0)[range(20)] for n in (32, 64))
    difference = (avg_pool2d(fine, 2) - coarse).std() / coarse.std()
    other = (avg_pool2d(fine, 2).roll(1, 0) - coarse).std() / coarse.std()
    assert difference < 0.1 < 1 < other


@pytest.mark.parametrize("colors", [1, 2])
def test_the_law_has_the_variance_and_channels_it_says(colors):
    data = Fields(colors=colors)
    assert data.channels == colors
    x = data.open("train", Grid(16, 16, colors), 0)[range(1000)]
    assert x.shape == (1000, colors, 16, 16)
    assert float(x.square().mean().sqrt()) == pytest.approx(data.field.pixel_std(Grid(16, 16, colors)), rel=0.05)
