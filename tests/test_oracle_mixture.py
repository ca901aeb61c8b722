"""The recipe `oracle_mixture` learns a posterior with several modes: its samples against exact ones, and their components."""

import json

import pytest
from support import ROOT

from invkit.experiment.run import run
from invkit.recipe.recipe import load_recipe


@pytest.mark.slow
def test_samples_are_near_the_exact_posterior(tmp_path):
    recipe = load_recipe(ROOT / "recipes" / "oracle_mixture.yaml")
    folder = run(recipe, tmp_path / "run", "cpu")
    rows = json.loads((folder / "eval" / "table.json").read_text("utf-8"))["rows"]
    found = {
        row["method"]: {name: one["value"] for name, one in row["metrics"].items()} for row in rows if row["samples"]
    }
    assert found["model"]["crps"] < 1.05 * found["oracle"]["crps"] < found["gaussian"]["crps"]
    assert found["oracle"]["component_weights"] < found["model"]["component_weights"] < 0.08
    assert found["gaussian"]["component_weights"] > 0.12
