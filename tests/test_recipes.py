"""Every recipe that ships runs for two steps, with the embedded photographs where its data are not at hand."""

import json
from pathlib import Path

import pytest

from invkit.data.cifar10 import Cifar10
from invkit.experiment import run
from invkit.recipe import load_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))


def test_there_are_recipes():
    assert len(RECIPES) >= 3


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["narrow", pytest.param("whole", marks=pytest.mark.slow)])
def test_two_steps(path, size, tmp_path, monkeypatch):
    """Narrow networks take seconds; everything else is as the recipe says."""
    monkeypatch.setattr(Cifar10, "missing", lambda _: "no network in tests")
    narrow = ["model.channels=16", "model.blocks=1", "model.modes=4"] if size == "narrow" else []
    recipe = load_recipe(path, ["train.steps=2", *narrow])
    folder = run(recipe, tmp_path / "run", "cpu", smoke=True)
    table = json.loads((folder / "eval" / "table.json").read_text("utf-8"))
    assert {row["method"] for row in table["rows"]} == {recipe.registry.name_of(m) for m in recipe.eval.methods}
    assert (folder / "report.html").is_file()
    assert (folder / "samples" / "iter_000002.png").is_file()
