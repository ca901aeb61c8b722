"""Values that were measured elsewhere: their grid, operator and unit, for every installed degradation."""

import pytest
import torch
from support.messages import raises
from support.toy_operators import Sums

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.given import averages, fixed_operator, implied_grid, in_pixel_units
from invkit.plugins.loader import registry

NAMES = registry().names("degradation")
START = Grid(24, 24)


def made(name, **settings):
    return NAMES[name](**settings)


@pytest.mark.parametrize(
    ("name", "settings", "grid"),
    [
        ("superres-mean", {"factor": 4.0}, Grid(160, 200)),
        ("superres-mean", {"factor": 3.0}, Grid(120, 81)),
        ("superres-bicubic", {"factor": 7.0}, Grid(350, 210)),
        ("superres-gaussian", {"factor": 1.5}, Grid(30, 45)),
        ("superres-mean", {"factor": 4.0}, Grid(8, 12)),
        ("blur-gaussian", {}, Grid(37, 50)),
        ("color-grey", {}, Grid(9, 31)),
        ("denoise", {}, Grid(48, 20)),
        ("tomography", {}, START),
        ("tomography", {"angles": 10}, Grid(40, 40)),
        ("tomography", {"angles": 10, "detectors": 0.5}, Grid(60, 60)),
    ],
)
def test_the_grid_that_values_imply(name, settings, grid):
    degradation = made(name, **settings)
    shape = fixed_operator(degradation, grid, 1).range_shape
    found = implied_grid(degradation, shape, START)
    assert fixed_operator(degradation, found, 1).range_shape == shape
    assert found == grid


def test_no_grid_measures_such_values():
    assert implied_grid(made("tomography", angles=10), (3, 11, 34), START) is None  # another number of angles
    assert implied_grid(made("blur-gaussian"), (1, 24, 24), START) is None  # another number of channels
    assert implied_grid(made("blur-gaussian"), (24, 24), START) is None


@pytest.mark.parametrize("name", ["sparse-random", "blur-motion", "inpaint-strokes"])
def test_an_operator_that_is_drawn_is_unknown(name):
    with raises(ValueError, "random"):
        fixed_operator(made(name), START, 1)
    assert len(fixed_operator(made("blur-motion", angle=30.0), START, 3)) == 3


def test_which_values_are_an_image():
    yes = ["superres-mean", "superres-bicubic", "blur-gaussian", "color-grey", "denoise", "sparse-grid", "color-bayer"]
    assert all(averages(fixed_operator(made(name), START, 1)) for name in yes)
    assert not averages(fixed_operator(made("tomography"), START, 1))
    assert not averages(fixed_operator(made("color-grey", weights=(1.0, 1.0, 1.0)), START, 1))
    assert not averages(Sums(torch.ones(1, 4, 3, 5, 6)))


@pytest.mark.parametrize("name", ["superres-mean", "tomography", "sparse-grid", "color-grey"])
def test_values_in_the_unit_of_the_pixels(name):
    """A is applied to bytes: after the conversion the values are A applied to images in [-1, 1]."""
    operator = fixed_operator(made(name), START, 2)
    x = Keys.of(0, "x", [0, 1]).uniform("x", *START.picture).double() * 2 - 1
    y = operator.forward((x + 1) * 127.5)
    torch.testing.assert_close(in_pixel_units(operator, y, 0.0, 255.0), operator.forward(x), atol=1e-9, rtol=1e-9)
