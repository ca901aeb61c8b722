"""What is given is compared with what was trained on: the operator, the share of observed pixels, the sense of a mask."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import missing, raises, warns
from support.models import build

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.experiment.inference.job import Options, reconstruct
from invkit.experiment.trained_model import Trained
from invkit.physics.measurement import Noise, measure
from invkit.physics.points import measure_points
from invkit.recipe.recipe import load_recipe

MASKS = "{name: sparse-random, fraction: 0.1}"
SMALL = "{name: superres-mean, factor: 4}"


def trained(write, degradation: str) -> Trained:
    recipe = load_recipe(
        write(f"data: photos\nsample: {{steps: 2}}\ntrain: {{grids: [16]}}\ndegradation: {degradation}\n")
    )
    model = build(perturb=0.02)
    ranges = torch.tensor([[0.1, 0.12], [0, 1e9], [0, 1e9], [0, 1e9]], dtype=torch.float64)
    model.constants = replace(model.constants, training_ranges=ranges)
    return Trained(recipe, model, torch.device("cpu"), 5)


@pytest.fixture
def masked(tmp_path):
    """An image and a mask that is white at 26 of its 256 pixels."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(tmp_path / "x.png")
    observed = np.zeros(256, bool)
    observed[rng.permutation(256)[:26]] = True
    for name, mask in (("mask.png", observed), ("inverted.png", ~observed)):
        Image.fromarray(np.uint8(255) * mask.reshape(16, 16)).save(tmp_path / name)
    return tmp_path


def said(trained: Trained, folder, **options) -> str:
    heard: list[str] = []
    list(reconstruct(trained, "run", [folder / "x.png"], folder / "out", Options(samples=2, **options), heard.append))
    return "\n".join(heard)


def test_a_run_for_another_degradation_warns(write, masked):
    with warns("trained on superres-mean", "not suited", "observed pixels"):
        said(trained(write, SMALL), masked, mask=masked / "mask.png")
    with warns("trained on superres-mean", "not suited", "observed pixels"):  # by tiles as well
        said(trained(write, SMALL), masked, mask=masked / "mask.png", tiles=True)
    model = trained(write, MASKS)
    x = torch.rand(1, 3, 16, 16)
    for name in ("superres-mean", "blur-gaussian", "tomography"):
        recipe = load_recipe(write(f"data: photos\ndegradation: {name}\n"))
        keys = Keys.of(0, "m", [0])
        with warns("trained on sparse-random", "not suited"):
            model.mean(measure(recipe.degradation.sample(keys, Grid(16, 16)), x, Noise(), keys))


@pytest.mark.parametrize(
    "degradation",
    [MASKS, "sparse-grid", "{name: sparse-center, n: 30}", "{name: mixture, of: [sparse-grid, blur-gaussian]}"],
)
def test_a_run_for_masks_takes_any_mask_and_points(write, degradation):
    model = trained(write, degradation)
    model.model.constants = replace(model.model.constants, training_ranges=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.mean(measure_points(np.random.default_rng(0).random((30, 2)), np.zeros((30, 3)), Grid(16, 16)))


def test_the_share_of_observed_pixels_is_stated(write, masked):
    text = said(trained(write, MASKS), masked, mask=masked / "mask.png")
    assert "10.2 % of the pixels are observed" in text and "--invert-mask" not in text
    assert "10.2 % of the pixels are observed" in said(trained(write, MASKS), masked)


def test_an_inverted_mask_is_suspected_and_accepted(write, masked):
    model = trained(write, MASKS)
    with warns("more values measured than in training", "89.8 %", "10 % to 12 %"):
        text = said(model, masked, mask=masked / "inverted.png")
    assert not missing(text, "89.8 % of the pixels are observed", "in training about 11 %", "--invert-mask")
    with warns("the median tile is out of distribution", "more values measured than in training"):
        said(model, masked, mask=masked / "inverted.png", tiles=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "10.2 %" in said(model, masked, mask=masked / "inverted.png", invert_mask=True)
    inverted = np.load(masked / "out" / "x.npz")["mean"]
    said(model, masked, mask=masked / "mask.png")
    np.testing.assert_array_equal(np.load(masked / "out" / "x.npz")["mean"], inverted)


def test_tiles_of_a_usual_mask_are_not_warned_of(write, masked):
    """Although the share of the observed pixels differs from tile to tile."""
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(masked / "x.png")
    Image.fromarray(np.uint8(255) * (rng.random((64, 64)) < 0.11)).save(masked / "mask.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "25 tiles" in said(trained(write, MASKS), masked, mask=masked / "mask.png", tiles=True)


def test_an_inverted_mask_needs_a_mask_with_missing_pixels(write, masked):
    with raises(RecipeError, "--invert-mask", "--mask FILE"):
        said(trained(write, MASKS), masked, invert_mask=True)
    Image.new("L", (16, 16), 255).save(masked / "white.png")
    with raises(DataError, "white.png", "white everywhere", "no pixel is observed"):
        said(trained(write, MASKS), masked, mask=masked / "white.png", invert_mask=True)
