"""How much a training without clean images loses against one on clean images."""

import json

import pytest

from invkit.experiment.run import run
from invkit.recipe.recipe import load_recipe

FIELDS = """\
data: {name: fields, field: {name: matern, std: 0.5, length: 0.25, exponent: 2.5, color: 0.5}}
degradation: {name: mixture, of: [{name: sparse-random, fraction: 0.1}, {name: sparse-random, fraction: 0.4}], weights: [0, 1]}
diffusion: {preconditioning: spectral, schedule: {name: edm, log_mean: 0.3, sigma_min: 0.03, sigma_max: 30}}
model:
  {name: fno-unet, prior: {name: matern, std: 0.5, length: 0.2, exponent: 1.3}, channels: 24, mult: [1, 2], blocks: 2, modes: 6}
train: {grids: [16], steps: 400, batch: 32, mean_share: 0.33, clean: false, held: 0.75, checkpoint_every: 400, sample_every: 400}
sample: {method: dpmpp-2m, steps: 16}
eval: {images: 64, batch: 32, methods: [untrained, model, oracle], metrics: [crps, spread_skill, mae], paired_to: oracle}
log: {tensorboard: false}
"""

PHOTOS = """\
data: {name: photos}
degradation: {name: mixture, of: [{name: sparse-random, fraction: 0.1}, {name: sparse-random, fraction: 0.4}], weights: [0, 1]}
model: {name: fno-unet, channels: 32, mult: [1, 2], blocks: 2, patch: 2, modes: 4}
train: {grids: [16], steps: 300, batch: 32, mean_share: 0.33, clean: false, held: 0.75, checkpoint_every: 300, sample_every: 300}
sample: {method: dpmpp-2m, steps: 15}
eval: {images: 56, samples: 8, batch: 56, methods: [gaussian, model], metrics: [crps, spread_skill, mae]}
log: {tensorboard: false}
"""
TENTH = "degradation={name: sparse-random, fraction: 0.1}"


def scores(tmp_path, text, name, *overrides):
    """CRPS and spread/skill of the sample rows, and the absolute error of the means, at a tenth of the pixels."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, "utf-8")
    table = json.loads(
        (run(load_recipe(path, overrides), tmp_path / name, "cpu") / "eval" / "table.json").read_text("utf-8")
    )
    first = table["rows"][0]["degradation"]
    return {
        (row["method"], row["readout"]): {key: entry["value"] for key, entry in row["metrics"].items()}
        for row in table["rows"] if row["degradation"] == first
    }  # fmt: skip


@pytest.mark.slow
def test_fields_are_learned_from_measured_pixels_as_from_clean_images(tmp_path):
    clean = scores(tmp_path, FIELDS, "clean", "train.clean=true", TENTH)
    found = scores(tmp_path, FIELDS, "measured")
    for name, rows in (("clean", clean), ("measured", found)):
        print(name, {f"{m} {r}": v for (m, r), v in rows.items()})
    row, oracle = ("model", "sample"), ("oracle", "sample")
    assert found[oracle] == clean[oracle]
    assert found[row]["crps"] < 1.05 * clean[row]["crps"] and found[row]["crps"] < 1.1 * found[oracle]["crps"]
    assert found[row]["crps"] < found["untrained", "sample"]["crps"]


@pytest.mark.slow
def test_photographs_are_learned_from_measured_pixels_nearly_as_from_clean_ones(tmp_path):
    clean = scores(tmp_path, PHOTOS, "clean", "train.clean=true", TENTH)
    found = scores(tmp_path, PHOTOS, "measured")
    for name, rows in (("clean", clean), ("measured", found)):
        print(name, {f"{m} {r}": v for (m, r), v in rows.items()})
    row, kriging = ("model", "sample"), ("gaussian", "sample")
    assert found[row]["crps"] < 1.1 * clean[row]["crps"]
    assert found[row]["crps"] < found[kriging]["crps"]


@pytest.mark.slow
def test_photographs_are_learned_from_the_very_pixels_that_are_measured(tmp_path):
    found = scores(tmp_path, PHOTOS, "same", TENTH, "train.held=[0.1,0.5]")
    print("same", {f"{m} {r}": v for (m, r), v in found.items()})
    assert found["model", "sample"]["crps"] < found["gaussian", "sample"]["crps"]
