"""Runs with several seeds: resumable, on the same measurements, with a joint table."""

import json
import shutil

import pytest
from support.messages import missing, raises
from support.runs import Heard, go, killed, same, weights

from invkit.core.errors import DataError, RecipeError
from invkit.experiment.run import load, run
from invkit.experiment.seeds import any_evaluation, run_seeds
from invkit.recipe.recipe import load_recipe

RECIPE = """\
seed: 3
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 4, batch: 2, grids: [16], checkpoint_every: 2, precision: float32, determinism: strict}
sample: {steps: 2}
eval: {images: 3, samples: 2, methods: [nearest, model], metrics: [psnr]}
log: {tensorboard: false}
"""
SEEDS = ("seed-3", "seed-4")


def seeds(folder, count=2, listener=None):
    return run_seeds(load_recipe(folder.parent / "r.yaml"), count, folder, "cpu", listener=listener)


@pytest.fixture
def small(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds")
    (path / "r.yaml").write_text(RECIPE)
    return seeds(path / "all")


def read(path):
    return json.loads((path / "eval" / "table.json").read_text())


def test_only_the_training_has_another_seed(folder, small):
    first, second = (folder / name for name in SEEDS)
    alone = go(small / "r.yaml")
    assert same(weights(first), weights(alone)) and not same(weights(first), weights(second))
    assert read(first)["rows"] == [{**row, "run": "seed-3"} for row in read(alone)["rows"]]
    tables = read(first), read(second)
    for key in ("masks_sha256", "seed", "groups"):
        assert tables[0]["protocol"][key] == tables[1]["protocol"][key]
    values = [[row["metrics"]["psnr"]["value"] for row in table["rows"]] for table in tables]
    assert [a == b for a, b in zip(*values, strict=True)] == [True, False, False]  # of nearest, and of the model
    joint = read(folder)
    means = [row["metrics"]["psnr"]["value"] for row in joint["rows"]]
    assert means == pytest.approx([(a + b) / 2 for a, b in zip(*values, strict=True)], rel=1e-5)
    assert (joint["seeds"], joint["schema"]) == ([3, 4], "invkit.table/1") and (folder / "report.html").exists()


def test_the_same_command_goes_on_after_a_kill(folder, small):
    shutil.copytree(folder / "seed-3", small / "all" / "seed-3")
    with pytest.raises(KeyError):
        seeds(small / "all", listener=Heard(at=3, do=killed))
    assert not (small / "all" / "eval").exists()
    again = seeds(small / "all", listener=(heard := Heard()))
    assert heard.steps == [3, 4]  # from the last checkpoint; the finished seed is not trained again
    assert any("up to date" in line for line in heard.said)
    assert (again / "eval" / "table.json").read_bytes() == (folder / "eval" / "table.json").read_bytes()
    seeds(small / "all", listener=(heard := Heard()))
    assert (heard.steps, heard.done) == ([], [])


def test_the_folder_is_resumed_as_a_recipe(folder, small, invkit):
    shutil.copytree(folder, small / "all")
    code, out, err = invkit("run", small / "all", "--device", "cpu")
    assert code == 0 and "seeds 3, 4" in out and err.count("up to date") == 2


def test_eval_prints_the_joint_table(folder, invkit):
    code, out, _ = invkit("eval", folder, "--device", "cpu", "--format", "json")
    assert code == 0 and json.loads(out) == read(folder)
    table, place = any_evaluation(folder, ["eval.images=2"], "cpu")
    assert table["images"] == 2 and place.eval.parent == folder / "eval" and read(folder)["images"] == 3
    assert json.loads((place.eval / "table.json").read_text()) == table and (place.eval / "report.html").exists()
    code, _, err = invkit("eval", folder, "--from-saved", "--device", "cpu")
    assert code == 3 and not missing(err, "2 seeds", folder / "seed-3")
    with raises(DataError, "2 seeds", folder / "seed-3"):
        load(folder, "cpu")
    assert load(folder / "seed-4", "cpu").recipe.training_seed == 4


@pytest.mark.slow
def test_one_command(small, invkit):
    code, out, err = invkit(
        "run", small / "r.yaml", "--seeds", 2, "--smoke", "--out", small / "smoke", "--device", "cpu"
    )
    assert code == 0 and "seeds 3, 4" in out and not missing(err, small / "smoke" / "report.html")


def test_folders_are_not_mixed_up(folder, small):
    with raises(RecipeError, folder / "seed-3", "one seed", "--out"):
        run_seeds(load_recipe(small / "r.yaml"), 2, folder / "seed-3", "cpu")
    with raises(RecipeError, folder, "--seeds", "--out"):
        run(load_recipe(small / "r.yaml"), folder, "cpu")
    with raises(RecipeError, "--seeds 1", 2):
        seeds(small / "all", count=1)
