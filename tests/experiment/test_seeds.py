"""Runs with several seeds: resumable, on the same measurements, with a joint table."""

import json

import pytest
from support.messages import missing, raises
from support.runs import RECIPE, Heard, go, killed, same, weights

from invkit.core.errors import DataError, RecipeError
from invkit.experiment.run import load
from invkit.experiment.seeds import any_evaluation, run_seeds
from invkit.recipe.recipe import load_recipe

SEEDS = ("seed-3", "seed-4")  # the seed of the recipe is 3


def seeds(recipe, name="all", count=2, listener=None, **options):
    return run_seeds(load_recipe(recipe), count, recipe.parent / name, "cpu", listener=listener, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds")
    (path / "tiny.yaml").write_text(RECIPE)
    return seeds(path / "tiny.yaml")


def read(path, name="table.json"):
    return json.loads((path / "eval" / name).read_text())


def test_only_the_training_has_another_seed(folder, trained_run):
    first, second = (folder / name for name in SEEDS)
    assert same(weights(first), weights(trained_run)) and not same(weights(first), weights(second))
    tables = read(first), read(second)
    for key in ("masks_sha256", "seed", "groups"):
        assert tables[0]["protocol"][key] == tables[1]["protocol"][key]
    assert read(first)["rows"] == [{**row, "run": "seed-3"} for row in read(trained_run)["rows"]]
    rows = [
        {row["method"] + row["readout"]: row["metrics"]["psnr"]["value"] for row in table["rows"]} for table in tables
    ]
    assert {name for name in rows[0] if rows[0][name] != rows[1][name]} == {"modelmean", "modelsample"}
    assert (first / "split.json").exists() is (second / "split.json").exists()
    joint = read(folder)
    for i, row in enumerate(joint["rows"]):
        values = [table["rows"][i]["metrics"]["psnr"]["value"] for table in tables]
        assert row["metrics"]["psnr"]["value"] == pytest.approx(sum(values) / 2, rel=1e-5)
    assert (joint["seeds"], joint["schema"]) == ([3, 4], "invkit.table/1") and (folder / "report.html").exists()


class Later(Heard):
    """Acts in the second training."""

    def trained(self, record):
        at, self.at = self.at, self.at if len(self.steps) >= 6 else None
        super().trained(record)
        self.at = at


def test_the_same_command_goes_on_after_a_kill(recipe, folder):
    heard = Later(at=4, do=killed)
    with pytest.raises(KeyError):
        seeds(recipe, listener=heard)
    assert heard.steps == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4] and not (recipe.parent / "all" / "eval").exists()
    again = seeds(recipe, listener=(heard := Heard()))
    assert heard.steps == [3, 4, 5, 6]  # from the last checkpoint; the finished seed is not trained again
    assert any("up to date" in line for line in heard.said)
    assert (again / "eval" / "table.json").read_bytes() == (folder / "eval" / "table.json").read_bytes()
    stamps = [(again / name / "eval" / "table.json").stat().st_mtime_ns for name in SEEDS]
    seeds(recipe, listener=(heard := Heard()))
    assert heard.steps == [] and stamps == [(again / name / "eval" / "table.json").stat().st_mtime_ns for name in SEEDS]


def test_eval_prints_the_joint_table(folder, invkit):
    code, out, _ = invkit("eval", folder, "--device", "cpu", "--format", "json")
    assert code == 0 and json.loads(out) == read(folder)
    table, place = any_evaluation(folder, ["eval.images=4"], "cpu")
    assert table["images"] == 4 and place.eval.parent == folder / "eval" and read(folder)["images"] == 5
    assert json.loads((place.eval / "table.json").read_text()) == table and (place.eval / "report.html").exists()
    code, _, err = invkit("eval", folder, "--from-saved", "--device", "cpu")
    assert code == 3 and not missing(err, "2 seeds", folder / "seed-3")
    with raises(DataError, "2 seeds", folder / "seed-3"):
        load(folder, "cpu")
    assert load(folder / "seed-4", "cpu").recipe.training_seed == 4


def test_one_command(recipe, invkit, tmp_path):
    code, out, err = invkit("run", recipe, "--seeds", 2, "--smoke", "--out", tmp_path / "smoke", "--device", "cpu")
    assert code == 0 and "seeds 3, 4" in out and not missing(err, tmp_path / "smoke" / "report.html")


def test_folders_are_not_mixed_up(recipe, trained_run):
    go(recipe, "train.steps=1")
    with raises(RecipeError, recipe.parent / "run", "one seed", "--out"):
        seeds(recipe, "run")
    with raises(RecipeError, "--seeds 1", 2):
        seeds(recipe, count=1)
