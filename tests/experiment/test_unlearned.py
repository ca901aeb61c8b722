"""A model whose mean is its initial estimate is told, with the usual causes, in the table and in the report."""

import json

import pytest
import torch
from support.models import GRID, build
from support.runs import TINY

from invkit.experiment.session import protocols
from invkit.experiment.trained_model import Trained
from invkit.experiment.unlearned import unlearned_note
from invkit.recipe.recipe import load_recipe

SMALL = "degradation: sparse-random\ntrain: {grids: [16]}\neval: {images: 6}\n"


def note(write, model, text="data: photos\n" + SMALL):
    recipe = load_recipe(write(text))
    images = {GRID: recipe.data.open("test", GRID, 0, 6)}
    trained = Trained(recipe, model, torch.device("cpu"), 12)
    return unlearned_note(trained, images, protocols(recipe, "run", torch.device("cpu")))


def test_an_untrained_model_is_told_and_one_that_differs_is_not(write):
    said = note(write, build())
    assert said.startswith("the mean of the model equals its initial estimate (kriging) up to 0 % of the error")
    assert "12 steps" in said and "train.lr" in said
    assert "(zero)" in note(write, build("zero"), "data: photos\nmodel: {name: fno-unet, fill: zero}\n" + SMALL)
    assert note(write, build(perturb=0.05)) is None


@pytest.mark.parametrize(
    "text", ["data: fields\n" + SMALL, "data: photos\n" + SMALL.replace("sparse-random", "nothing")]
)
def test_where_it_may_be_the_posterior_mean_nothing_is_said(write, text):
    assert note(write, build(), text) is None


def test_it_stands_in_the_table_the_report_and_the_output(invkit, write, tmp_path):
    code, out, _ = invkit("run", write(TINY), "--out", tmp_path / "run", "--device", "cpu")
    (said,) = json.loads((tmp_path / "run" / "eval" / "table.json").read_text())["notes"]
    assert code == 0 and said.startswith("the mean of the model equals") and "3 steps" in said
    assert "the mean of the model equals its initial estimate" in " ".join(out.split())
    assert "the mean of the model equals its initial estimate" in (tmp_path / "run" / "report.html").read_text()
    columns = invkit("run", write(TINY), "eval.methods=[gaussian]", "--out", tmp_path / "run", "--device", "cpu")[1]
    assert "equals its initial" not in columns
