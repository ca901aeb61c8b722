import csv
import json

import pytest
import torch
from support.runs import Heard

from invkit.evaluation.combine import combine_degradations
from invkit.evaluation.evaluator import Evaluation
from invkit.evaluation.table import render
from invkit.experiment.run import evaluate, run
from invkit.recipe.recipe import load_recipe

RECIPE = """
data: {name: photos}
degradation:
  name: mixture
  of: [{name: sparse-random, fraction: 0.1}, sparse-grid, {name: sparse-random, fraction: 0.3}]
  weights: [1, 1, 0]
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, patch: 2, modes: 3}
train: {steps: 2, batch: 4}
sample: {steps: 2}
eval: {images: 4, samples: 2, batch: 4, metrics: [psnr, crps, data_misfit]}
log: {tensorboard: false}
"""
NAMES = ["sparse-random#0", "sparse-grid", "sparse-random#2"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "mixed.yaml").write_text(RECIPE)
    heard = Heard()
    run(load_recipe(folder / "mixed.yaml"), folder / "run", "cpu", listener=heard)
    return folder, json.loads((folder / "run/eval/table.json").read_text()), heard


def test_a_mixture_has_rows_for_each_part(mixed):
    _, table, heard = mixed
    assert list(dict.fromkeys(row["degradation"] for row in table["rows"])) == NAMES
    assert [len([r for r in table["rows"] if r["degradation"] == name]) for name in NAMES] == [5, 5, 5]
    assert heard.done == sorted(heard.done) and heard.done[-1] == (12, 12)
    assert table["protocol"]["degradation"]["of"][1] == {"name": "sparse-grid", "stride": 3, "offset": [0, 0]}
    assert len(set(table["protocol"]["masks_sha256"].values())) == 3


def test_a_part_has_the_rows_that_it_has_in_a_recipe_of_its_own(mixed):
    folder, table, _ = mixed
    alone = evaluate(folder / "run", ["degradation.name=sparse-random", "degradation.fraction=0.3"], "cpu")
    ours = [row for row in table["rows"] if row["degradation"] == "sparse-random#2"]
    assert [row["metrics"] for row in alone["rows"]] == [row["metrics"] for row in ours]
    assert alone["protocol"]["masks_sha256"]["32x32"] == table["protocol"]["masks_sha256"]["32x32, sparse-random#2"]


def test_marks_belong_to_their_own_rows(mixed):
    _, table, _ = mixed
    differences = table["differences"]
    assert {entry["degradation"] for entry in differences} == set(NAMES)
    for entry in differences:
        entry.update(value=1.0, lo=0.5, hi=1.5, p=0.01) if entry["degradation"] == "sparse-grid" else entry.update(
            value=None
        )
    lines = [line for line in render(table, "md").splitlines() if "▲" in line and line.startswith("| sparse")]
    assert lines and all(line.startswith("| sparse-grid") for line in lines)


def test_files_tell_the_parts_apart(mixed):
    run = mixed[0] / "run"
    rows = list(csv.DictReader((run / "eval/per_image.csv").open()))
    assert {row["degradation"] for row in rows} == set(NAMES) and len(rows) == 3 * 5 * 4
    stems = {path.stem for path in (run / "eval/reconstructions").iterdir()}
    assert stems == {f"{method}-{name}" for method in ("truth", "nearest", "gaussian", "model") for name in NAMES}
    assert {row["degradation"] for row in json.loads((run / "eval/cost.json").read_text())["rows"]} == set(NAMES)
    page = (run / "report.html").read_text()
    assert "<b>mixture</b> (of: [sparse-random (fraction: 0.1" in page
    assert all(f"32x32, {name}" in page and f"<td>{name}</td>" in page for name in NAMES)


def test_one_part_is_left_as_it_is():
    one = Evaluation(
        {"rows": [{}], "differences": [], "protocol": {"degradation": None}}, {"rows": []},
        {"8x8": {"masks_sha256": "ab"}}, [], {"8x8": None}, {"truth": {"y": torch.zeros(1)}},
    )  # fmt: skip
    same = combine_degradations({"sparse": one}, {"name": "sparse"})
    assert (same.record, same.examples, same.arrays) == (one.record, one.examples, one.arrays)
    assert same.table["protocol"] == {"degradation": {"name": "sparse"}, "masks_sha256": {"8x8": "ab"}}
