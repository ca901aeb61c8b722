import pytest
import torch
from torch.nn.functional import avg_pool2d

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields, HeavyTailedFields, MixtureFields
from invkit.recipe.recipe import load_recipe

SAMPLED = [Fields, MixtureFields, HeavyTailedFields]


@pytest.mark.parametrize("data", SAMPLED)
def test_draws_are_keyed_and_splits_are_independent(data):
    train, test = (data(train_size=50, test_size=9).open(split, Grid(8, 8), 0) for split in ("train", "test"))
    assert (len(train), len(test)) == (50, 9) and len(data().open("train", Grid(8, 8), 0, limit=5)) == 5
    assert torch.equal(train[[7, 3]][1:], train[[3]])
    assert not torch.equal(train[[3]], test[[3]])
    assert not torch.equal(train[[3]], data().open("train", Grid(8, 8), 1)[[3]])


@pytest.mark.parametrize("data", SAMPLED)
def test_a_finer_grid_shows_the_same_draw_refined(data):
    coarse, fine = (data().open("test", Grid(n, n), 0)[range(20)] for n in (32, 64))
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


def test_components_are_settings_of_a_recipe():
    half = "{weight: 2, mean: [[0, 0, 0.5]], field: {name: matern, std: 0.1}}"
    data = load_recipe("quickstart", [f"data={{name: mixture-fields, components: [{half}, {{}}], colors: 1}}"]).data
    assert [one.weight for one in data.components] == [2, 1] and data.components[0].field.std == 0.1
    x = data.open("train", Grid(8, 8, 1), 0)[range(600)].mean((1, 2, 3))
    assert float((x > 0.25).float().mean()) == pytest.approx(2 / 3, abs=0.06)
    with pytest.raises(RecipeError, match=r"data\.components"):
        load_recipe("quickstart", ["data={name: mixture-fields, components: [{}]}"])
