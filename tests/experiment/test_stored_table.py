"""A stored table is kept, and used only for what it was computed with: settings, weights and plugin code."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.image_files import encoded, picture, write
from support.messages import missing, raises
from support.runs import Heard, go

from invkit.core.errors import DataError, RecipeError
from invkit.experiment.run import evaluate, evaluation, load, run
from invkit.experiment.run_folder import table_settings
from invkit.experiment.stored_table import fingerprint
from invkit.plugins.loader import registry
from invkit.recipe.recipe import load_recipe

PLUGIN = """
import torch
from invkit.api import Degradation, Mask, hookimpl

class Half(Degradation):
    def sample(self, keys, grid):
        observed = torch.arange(grid.height) {} grid.height // 2
        return Mask(observed[:, None].expand(len(keys), 1, *grid.shape), grid.channels)

@hookimpl
def invkit_degradations():
    return {{"half": Half}}
"""


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_another_evaluation_is_stored_beside_that_of_the_run(run_copy):
    before = files(run_copy)
    table, folder = evaluation(run_copy, ["eval.images=3"], "cpu", heard := Heard())
    assert table["images"] == 3 and folder.eval.parent == run_copy / "eval"
    assert json.loads((folder.eval / "table.json").read_text()) == table
    assert not missing(heard.said[-1], folder.eval, "unchanged")
    made = {path.relative_to(folder.eval).as_posix() for path in folder.eval.rglob("*")}
    assert made >= {"report.html", "record.json", "resolved.yaml", "per_image.csv", "reconstructions/model.npz"}
    assert "images: 3" in (folder.eval / "report.html").read_text()  # the recipe of this evaluation
    after = files(run_copy)
    assert {path: after[path] for path in before} == before
    stamp = (folder.eval / "table.json").stat().st_mtime_ns
    assert evaluation(run_copy, ["eval.images=3"], "cpu")[0] == table
    assert (folder.eval / "table.json").stat().st_mtime_ns == stamp
    assert evaluation(run_copy, ["eval.images=4"], "cpu")[1].eval != folder.eval


def test_a_setting_that_changes_no_value_needs_no_evaluation(run_copy):
    before = files(run_copy)
    table, folder = evaluation(run_copy, ["eval.batch=1"], "cpu", heard := Heard())
    assert (folder.eval, heard.done) == (run_copy / "eval", []) and files(run_copy) == before
    assert table == json.loads((run_copy / "eval/table.json").read_text())


def test_the_name_of_an_evaluation(run_copy):
    few = evaluate(run_copy, ["eval.images=2"], "cpu", name="few")
    assert json.loads((run_copy / "eval/few/table.json").read_text()) == few
    with raises(RecipeError, run_copy / "eval" / "few", "eval.images=2", "now 3", "--name"):
        evaluate(run_copy, ["eval.images=3"], "cpu", name="few")
    for name in ("../x", "a/b", "", "reconstructions", "partial", ".x", "table.json"):
        if name:
            with raises(RecipeError, "--name"):
                evaluate(run_copy, ["eval.images=3"], "cpu", name=name)


def test_what_replaces_the_table_says_so(recipe, run_copy):
    go(recipe, "eval.images=3", listener=(heard := Heard()))
    [said] = [text for text in heard.said if "replaced" in text]
    assert not missing(said, run_copy / "eval", "eval.images=5", "now 3")
    go(recipe, "eval.images=3", "train.steps=7", listener=(heard := Heard()))
    assert any("replaced" in text and "other weights" in text for text in heard.said)


def test_an_unfinished_training_is_stated_in_table_and_report(recipe, run_copy):
    resolved = run_copy / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("steps: 6", "steps: 9"))
    [note, untrained] = evaluate(run_copy, device="cpu")["notes"]
    if "not finished" in untrained:
        note, untrained = untrained, note
    assert "equals its initial estimate" in untrained
    assert not missing(note, "not finished", "step 6 of 9", "invkit run")
    assert note.split("`")[0] in (run_copy / "report.html").read_text()
    go(recipe, "train.steps=6")
    assert json.loads((run_copy / "eval/table.json").read_text())["notes"] == [untrained]


def test_other_code_of_a_plugin_is_noticed(recipe, tmp_path):
    plugin, folder = tmp_path / "half.py", tmp_path / "half"
    overrides = ["degradation={name: half}", "eval.methods=[nearest]", "eval.metrics=[psnr]"]
    plugin.write_text(PLUGIN.format("<"))
    run(load_recipe(recipe, overrides, registry((str(plugin),))), folder, "cpu")
    table = evaluate(folder, device="cpu", registry=registry((str(plugin),)))
    plugin.write_text(PLUGIN.format(">="))
    registry.cache_clear()
    said = "other code of the degradation half (half.py "
    heard, changed = Heard(), registry((str(plugin),))
    with pytest.warns(UserWarning, match="was trained with"):
        other = evaluate(folder, device="cpu", listener=heard, registry=changed)
    assert any("replaced" in text and said in text for text in heard.said)
    assert other["protocol"]["masks_sha256"] != table["protocol"]["masks_sha256"]
    with pytest.warns(UserWarning, match="half.py"):
        load(folder, "cpu", changed)
    with pytest.warns(UserWarning, match="--fresh"):
        run(load_recipe(recipe, [*overrides, "train.steps=7"], changed), folder, "cpu")


def test_the_stored_table_needs_no_data(recipe, tmp_path):
    root = Path(write(tmp_path / "pics", {f"{i}.png": encoded(picture(i)) for i in range(12)}, False))
    folder = go(recipe, "data.name=images", f"data.root={root}", "eval.methods=[nearest]")
    root.rename(tmp_path / "elsewhere")
    folder = folder.rename(tmp_path / "copied")
    assert evaluate(folder, device="cpu") == json.loads((folder / "eval/table.json").read_text())


def test_runs_with_other_settings_are_paired(run_copy, recipe, invkit):
    other = Path(shutil.copytree(run_copy, run_copy.with_name("longer")))
    run(load_recipe(recipe, ["train.steps=7"]), other, "cpu")
    code, out, _ = invkit("eval", run_copy, other, "eval.metrics=[psnr]", "eval.methods=[model]", "--device", "cpu")
    assert code == 0 and f"longer minus {run_copy.name}, model mean: psnr" in out and "(paired)" in out
    code, out, _ = invkit("eval", run_copy, other, "--columns", "ssim,psnr", "--device", "cpu")
    assert code == 0 and "crps" not in out.partition("test images")[0]
    assert out.index("ssim") < out.index("psnr")
    code, _, err = invkit("eval", run_copy, "--columns", "psn", "--device", "cpu")
    assert code == 2 and not missing(err, "'psn'", "did you mean 'psnr'")


def test_a_run_folder_is_resumed_as_a_recipe(recipe, run_copy, invkit):
    before = files(run_copy)
    code, out, err = invkit("run", run_copy, "--device", "cpu")
    assert code == 0 and "up to date" in err and out.startswith("method")
    assert files(run_copy).keys() == before.keys()
    assert (run_copy / "recipe.yaml").read_bytes() == before[run_copy / "recipe.yaml"]
    code, _, err = invkit("run", run_copy, "train.steps=7", "--device", "cpu")
    assert code == 0 and "resuming from step 6" in err
    assert invkit("run", run_copy, "seed=9", "--device", "cpu")[0] == 2
    assert (run_copy / "recipe.yaml").read_bytes() == before[run_copy / "recipe.yaml"]


def test_a_run_is_found_by_its_name(recipe, run_copy, invkit, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    shutil.copytree(run_copy, tmp_path / "runs" / "cells")
    monkeypatch.chdir(tmp_path)
    table = json.loads((run_copy / "eval/table.json").read_text())
    assert evaluate(Path("cells"), device="cpu") == table
    assert load(Path("cells"), "cpu").step == 6
    write(tmp_path / "in", {"a.png": encoded(picture(0))}, False)
    code, _, _ = invkit("reconstruct", "cells", tmp_path / "in", "--out", "out", "--samples", 1, "--device", "cpu")
    assert code == 0 and (tmp_path / "out" / "a.npz").is_file()
    with raises(DataError, "sells", "here or in runs", "invkit run RECIPE"):
        evaluate(Path("sells"))


def test_several_samplers_of_one_run_are_rows_of_one_table(run_copy):
    methods = "[model, {name: model, sample: {method: em, steps: 3}}, {name: model, sample: {steps: 1}}, nearest]"
    table = evaluate(run_copy, [f"eval.methods={methods}"], "cpu", name="samplers")
    rows = {row["method"]: row for row in table["rows"] if row["readout"] == "sample"}
    assert {name: row["nfe"] for name, row in rows.items()} == {"model#0": 2, "model#1": 3, "model#2": 1}
    stored = json.loads((run_copy / "eval/table.json").read_text())["rows"][-1]["metrics"]
    assert rows["model#0"]["metrics"]["crps"]["value"] == stored["crps"]["value"]
    assert len({row["metrics"]["crps"]["value"] for row in rows.values()}) == 3
    notes = [note for note in table["notes"] if note.startswith("model#")]
    assert notes[0] == "model#0: settings as by default"
    assert not missing(notes[1], "model#1", "em", "steps: 3") and not missing(notes[2], "model#2", "steps: 1")
    saved = evaluate(run_copy, device="cpu", from_saved=True, name="samplers")
    assert {row["method"] for row in saved["rows"]} == {*rows, "nearest"}
    with raises(RecipeError, "each only once"):
        evaluate(run_copy, ["eval.methods=[model, model]"], "cpu")


def test_a_table_of_an_earlier_version_is_used(run_copy):
    """Its stamp was a hash of the resolved recipe and the weights."""
    done = run_copy / "eval" / "done.json"
    stamp = json.loads(done.read_text())
    resolved = yaml.safe_load((run_copy / "resolved.yaml").read_text())
    for weights, used in ((stamp["weights"], True), ("0" * 64, False)):
        done.write_text(json.dumps({"fingerprint": fingerprint(table_settings(resolved), weights)}))
        evaluate(run_copy, device="cpu", listener=(heard := Heard()))
        assert (heard.done == []) == used


def test_settings_of_a_method_that_is_its_own_reconstructor_are_rows_too(recipe):
    few = ("train.steps=1", "eval.images=2", "eval.metrics=[psnr]")
    folder = go(recipe, *few, "eval.methods=[{name: tv, steps: 2}, {name: tv, steps: 40}]")
    rows = json.loads((folder / "eval/table.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["tv#0", "tv#1"]
    assert rows[0]["metrics"]["psnr"]["value"] != rows[1]["metrics"]["psnr"]["value"]
