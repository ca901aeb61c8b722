"""Values that the recipe's operator measured elsewhere, from files and from Python."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import missing, raises
from support.models import build

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.experiment.inference.job import Options, reconstruct
from invkit.experiment.trained_model import Trained
from invkit.recipe.recipe import load_recipe

HEAD = "data: photos\nsample: {steps: 2}\ntrain: {grids: [16]}\n"
X = Keys.of(0, "x", [0]).uniform("x", 3, 24, 32).double() * 2 - 1


@pytest.fixture
def trained(write):
    def trained(degradation: str) -> Trained:
        recipe = load_recipe(write(f"{HEAD}degradation: {degradation}\n"))
        return Trained(recipe, build(perturb=0.02), torch.device("cpu"), 5)

    return trained


@pytest.fixture
def go(tmp_path):
    """Reconstructs one file of measured values: its entry, its arrays and the messages."""

    def go(model, name, **options):
        heard: list[str] = []
        chosen = replace(Options(samples=2, measured=True), **options)
        (entry,) = reconstruct(model, "run", [Path(tmp_path / name)], tmp_path / "out", chosen, heard.append)
        with np.load(tmp_path / "out" / entry["arrays"], allow_pickle=False) as data:
            return entry, dict(data), heard

    return go


def measured(model, x, grid):
    return model.recipe.degradation.sample(Keys.of(0, "a", [0]), grid).forward(x)


@pytest.mark.parametrize(
    ("degradation", "grid"),
    [
        ("{name: superres-mean, factor: 4}", Grid(24, 32)),
        ("{name: blur-gaussian, width: 0.1}", Grid(24, 32)),
        ("{name: sparse-grid, stride: 3}", Grid(24, 32)),
        ("{name: tomography, angles: 5}", Grid(24, 24)),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_of_any_operator(trained, go, tmp_path, degradation, grid, suffix):
    model, x = trained(degradation), X[..., : grid.width]
    y = measured(model, x, grid)[0]
    np.save(tmp_path / "y.npy", y) if suffix == "npy" else np.savez(tmp_path / "y.npz", y=y)
    entry, arrays, heard = go(model, f"y.{suffix}")
    assert entry["grid"] == list(grid.shape) and entry["measured"] == list(y.shape) and entry["degraded_by"] is None
    assert any(not missing(text, f"y.{suffix}", model.degradation, grid) for text in heard)
    np.testing.assert_allclose(arrays["y"], y.float(), atol=1e-5)
    want = model.mean(model.measurement(y.numpy(), grid))
    np.testing.assert_allclose(arrays["mean"], want[0], atol=1e-5)


def test_a_small_image_becomes_a_large_one(trained, go, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "low.png")
    model = trained("{name: superres-mean, factor: 4}")
    entry, arrays, _ = go(model, "low.png")
    assert entry["grid"] == [40, 52]
    np.testing.assert_allclose(arrays["y"], pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-5)
    assert go(model, "low.png", grid="41")[0]["grid"] == [41, 53]  # also measured as 10x13
    assert go(model, "low.png", grid="41x51")[0]["grid"] == [41, 51]
    with raises(DataError, "low.png", "(3, 10, 13)", "(3, 12, 16)", "48x62"):
        go(model, "low.png", grid="48")


@pytest.mark.parametrize("degradation", ["{name: superres-mean, factor: 4}", "{name: tomography, angles: 5}"])
def test_values_in_another_unit(trained, go, tmp_path, degradation):
    """The operator measured temperatures: 0 means -1 and 50 means 1."""
    model, grid = trained(degradation), Grid(24, 24)
    celsius = (X[..., :24] + 1) * 25
    np.save(tmp_path / "y.npy", measured(model, celsius, grid)[0])
    _, arrays, _ = go(model, "y.npy", span=(0.0, 50.0))
    want = model.mean(model.measurement(measured(model, X[..., :24], grid)))
    np.testing.assert_allclose(arrays["mean"], 25 * (want[0] + 1), atol=1e-2)  # the result is in the same unit
    np.testing.assert_allclose(arrays["y"], measured(model, celsius, grid)[0], atol=1e-3)


def test_one_channel_may_be_left_out(trained):
    model = trained("{name: color-grey}")
    y = measured(model, X, Grid(24, 32))
    for given in (y, y[0], y[0, 0], y[0, 0].numpy(), y[0, 0].tolist()):
        m = model.measurement(given)
        assert m.grid == Grid(24, 32) and m.y.dtype == torch.float32
        torch.testing.assert_close(m.y, y.float())
    assert model.measurement(y, sigma=0.3).sigma == 0.3 and model.measurement(y).sigma == 0
    assert len(model.measurement(torch.cat([y, y]))) == 2


def test_what_does_not_fit_is_refused(trained, go, tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "x.png")
    blur = trained("{name: blur-gaussian}")
    with raises(DataError, "x.png", "random", "--mask FILE"):
        go(trained("sparse-random"), "x.png")
    with raises(DataError, "x.png", "random", "Measurement"):
        go(trained("blur-motion"), "x.png")
    with raises(DataError, "x.png", "tomography", ".npy"):
        go(trained("tomography"), "x.png")
    with raises(RecipeError, "--measured", "--mask"):
        go(blur, "x.png", mask=tmp_path / "x.png")
    np.save(tmp_path / "last.npy", np.zeros((16, 20, 3)))
    with raises(DataError, "last.npy", "(16, 20, 3)", "(C, H, W)"):
        go(blur, "last.npy")
    np.save(tmp_path / "nan.npy", np.full((3, 16, 16), np.nan))
    with raises(DataError, "nan.npy", "finite"):
        go(blur, "nan.npy")
    np.save(tmp_path / "complex.npy", np.ones((3, 16, 16), complex))
    with raises(DataError, "complex.npy", "complex128"):
        go(blur, "complex.npy")
    np.savez(tmp_path / "other.npz", values=np.zeros((3, 16, 16)))
    with raises(DataError, "other.npz", "values", "y"):
        go(blur, "other.npz")
    (tmp_path / "p.csv").write_text("x,y,r,g,b\n")
    with raises(DataError, "p.csv", ".npy"):
        go(blur, "p.csv")


def test_an_image_of_16_bits_keeps_them(trained, go, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (16, 20)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    _, arrays, _ = go(trained("color-grey"), "deep.png")
    np.testing.assert_allclose(arrays["y"][0], pixels / 32767.5 - 1, atol=1e-6)
    with raises(RecipeError, "--range"):
        go(trained("color-grey"), "deep.png", span=(0.0, 1.0))
