"""Data and masks in which nothing is unknown or nothing varies are trained on and evaluated like others."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from support.image_files import encoded, picture, write
from support.runs import go


def table_of(folder):
    return json.loads((folder / "eval" / "table.json").read_text("utf-8"))


@pytest.mark.parametrize("degradation", ["{name: inpaint-mask, file: white.png}", "{name: sparse-random, fraction: 1}"])
def test_everything_is_observed(recipe, degradation):
    Image.new("L", (16, 16), 255).save(recipe.parent / "white.png")
    recipe.write_text(recipe.read_text().replace("{name: sparse-random}", degradation))
    table = table_of(go(recipe, "train.steps=2"))
    for row in table["rows"]:
        assert row["metrics"]["psnr"]["value"] == pytest.approx(100), row["method"]  # the largest value: no error
        assert row["metrics"]["mae"]["value"] < 1e-6
    assert "NaN" not in json.dumps(table) and "Infinity" not in json.dumps(table)


def test_images_of_one_colour_each(recipe):
    colours = np.random.default_rng(0).integers(0, 256, (14, 3), np.uint8)
    contents = {f"{i}.png": encoded(np.broadcast_to(c, (16, 16, 3)).copy()) for i, c in enumerate(colours)}
    root = write(recipe.parent / "plain", contents, False)
    folder = go(
        recipe, "train.steps=2", "data.name=images", f"data.root={root}", "eval.methods=[nearest, gaussian, model]"
    )
    values = {row["method"]: row["metrics"]["psnr"]["value"] for row in table_of(folder)["rows"]}
    assert all(math.isfinite(value) for value in values.values())
    assert values["nearest"] == pytest.approx(100)  # a single observed pixel is the image


def test_the_same_image_only_is_refused_with_the_reason(recipe, invkit):
    root = write(recipe.parent / "same", {f"{i}.png": encoded(picture(0)) for i in range(6)}, False)
    code, _, err = invkit("run", recipe, "data.name=images", f"data.root={root}", "--device", "cpu")
    assert code == 3 and "copies" in err.splitlines()[-1]
