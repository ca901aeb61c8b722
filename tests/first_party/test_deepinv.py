import sys

import pytest
import torch
from pydantic import ValidationError
from support.messages import missing, raises
from support.runs import TINY

from invkit.core.errors import PluginError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.plugins.loader import registry
from invkit.testing import check_degradation

DeepInverse = registry().names("degradation")["deepinv"]
GRID = Grid(16, 16)


@pytest.fixture
def deepinv():
    return pytest.importorskip("deepinv")


def keys(*ids: int) -> Keys:
    return Keys.of(0, "t", ids or range(4))


def test_without_the_library_the_plugin_loads_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    with raises(PluginError, "deepinv", "pip install 'invkit[deepinv]'") as error:
        DeepInverse(physics="blur").sample(keys(), GRID)
    assert "\n" not in str(error.value)


def test_without_the_library_a_run_ends_in_one_line(invkit, write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    recipe = write(TINY.replace("{name: sparse-random}", "{name: deepinv, physics: blur}"))
    code, _, err = invkit("run", recipe, "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (4, 1)
    assert not missing(err, "deepinv", "pip install 'invkit[deepinv]'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": -1}, ("blur", "sigma", 0)),
        ({"sgima": 1}, ("blur", "sgima", "known: sigma, padding")),
    ],
)
def test_settings_are_checked_before_the_library_sees_them(settings, said):
    with raises(ValidationError, *said):
        DeepInverse(physics="blur", settings=settings)
    with raises(ValidationError, "physics"):
        DeepInverse(physics="phase-retrieval")


@pytest.mark.parametrize(
    ("physics", "shape"),
    [("downsampling", (3, 8, 8)), ("decolorize", (1, 16, 16)), ("compressed-sensing", (77,)), ("mri", (6, 16, 16))],
)
def test_shapes_are_found_by_a_dry_run(deepinv, physics, shape):
    operator = DeepInverse(physics=physics).sample(keys(), GRID)
    assert operator.range_shape == shape and len(operator) == 4
    assert operator.forward(torch.randn(4, *GRID.picture)).shape == (4, *shape)


def test_it_is_their_operator(deepinv):
    x, filter_ = torch.randn(4, *GRID.picture), deepinv.physics.functional.gaussian_blur(sigma=(2.0, 2.0))
    theirs = deepinv.physics.Blur(filter_, padding="reflect").A(x)
    law = DeepInverse(physics="blur", settings={"sigma": 2.0, "padding": "reflect"})
    assert torch.equal(law.sample(keys(), GRID).forward(x), theirs)


def test_every_picture_has_a_mask_of_its_own_by_its_key(deepinv):
    law, ones = DeepInverse(physics="inpainting", settings={"share": 0.5}), torch.ones(4, *GRID.picture)
    masks = law.sample(keys(), GRID).forward(ones)
    assert len({row.numpy().tobytes() for row in masks}) == 4
    assert torch.equal(law.sample(keys(2), GRID).forward(ones[:1]), masks[2:3])


def test_what_conforms_goes_on_conforming(deepinv):
    check_degradation(DeepInverse, draws=4).raise_for_failures()


def test_a_grid_that_is_not_served_is_refused_with_the_reason(deepinv):
    with raises(ValueError, "tomography", "16x8"):
        DeepInverse(physics="tomography").sample(keys(), Grid(16, 8))
    with raises(ValueError, "DownsamplingMatlab", "15x15"):
        DeepInverse(physics="downsampling-matlab").sample(keys(), Grid(15, 15))
