"""The main job in small: the quick start at 200 of its steps already beats the posterior of a fitted Gaussian field."""

import json

from invkit.experiment.run import run
from invkit.recipe.recipe import load_recipe


def test_the_quick_start_beats_the_gaussian_row(tmp_path):
    small = ["train.steps=200", "train.decay=0.6", "train.sample_every=200", "eval.images=56", "log.tensorboard=false"]
    folder = run(load_recipe("quickstart", small), tmp_path / "run", "cpu")
    table = json.loads((folder / "eval/table.json").read_text())
    differences = {(d["method"], d["readout"], d["metric"]): d for d in table["differences"]}
    assert differences["model", "sample", "crps"]["hi"] < 0  # paired, by photograph
    assert differences["model", "mean", "psnr"]["value"] > 0
    rows = {(r["method"], r["readout"]): r["metrics"] for r in table["rows"]}
    assert 0.85 < rows["model", "sample"]["spread_skill"]["value"] < 1.25
    assert rows["gaussian", "mean"]["psnr"]["value"] > rows["nearest", "point"]["psnr"]["value"] + 1
