import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import encoded, picture, write
from support.messages import raises
from support.runs import RECIPE, Heard, go, killed, same, weights

from invkit.core.errors import DataError, NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.report.images import CELL, GAP, HEADER
from invkit.experiment.run import evaluate, load, run
from invkit.experiment.run_folder import RunFolder
from invkit.experiment.smoke import smoke_recipe
from invkit.physics.points import measure_points
from invkit.recipe.recipe import load_recipe
from invkit.training.checkpoint import latest_checkpoint
from invkit.training.problem import Problem
from invkit.training.trainer import Trainer


def test_a_run_leaves_what_is_documented(recipe):
    folder = go(recipe, "log.tensorboard=true")
    wanted = """recipe.yaml resolved.yaml record.json metrics.jsonl tensorboard samples/iter_000003.png samples/iter_000006.png
        eval/table.json eval/table.csv eval/per_image.csv eval/cost.json eval/reconstructions/model.npz report.html log.txt
        checkpoints/step-00000006/manifest.json"""
    assert all((folder / name).exists() for name in wanted.split()), list(folder.rglob("*"))
    assert (folder / "recipe.yaml").read_text() == RECIPE
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [2, 4, 6]
    table = json.loads((folder / "eval/table.json").read_text())
    assert table["schema"] == "invkit.table/1" and table["images"] == 5
    rows = [(r["method"], r["readout"], r["nfe"], r["samples"]) for r in table["rows"]]
    assert rows == [
        ("nearest", "point", 0, 0), ("gaussian", "mean", 0, 0), ("gaussian", "sample", 0, 3),
        ("model", "mean", 1, 0), ("model", "sample", 2, 3),
    ]  # fmt: skip
    record = json.loads((folder / "record.json").read_text())
    assert (
        record["seed"] == 3 and len(record["evaluation"]["16x16"]["masks_sha256"]) == 64 and record["versions"]["torch"]
    )
    assert not list(folder.rglob("*.pkl")) and not list(folder.rglob("*.pt"))


def test_the_split_that_was_used_is_said_and_recorded(recipe, tmp_path):
    contents = {
        f"{split}/{i}.png": encoded(picture(i + k)) for split, k in (("Train", 0), ("valid", 6)) for i in range(6)
    }
    root, used = write(tmp_path / "d", contents, False), "train: d/Train (6), test: d/valid (6)"
    few = ("train.steps=1", "eval.methods=[nearest]", "eval.metrics=[psnr]")
    folder = go(recipe, "data.name=images", f"data.root={root}", *few, listener=(heard := Heard()))
    assert used in heard.said and json.loads((folder / "record.json").read_text())["split"] == used


def test_the_run_in_the_current_folder_is_named_after_it(recipe, run_copy, monkeypatch):
    monkeypatch.chdir(run_copy)
    table = evaluate(Path("."), ["eval.images=3", "eval.methods=[nearest]"], "cpu")
    assert {row["run"] for row in table["rows"]} == {run_copy.name} == {RunFolder(Path(".")).name}
    assert table["rows"][0]["run"]


def test_rows_without_training_read_the_training_pictures_and_not_the_others(recipe):
    rows = "[nearest, linear, biharmonic, pinv, {name: tv, steps: 50}, {name: lmmse, pictures: 200}]"
    overrides = ("train.steps=1", f"eval.methods={rows}", "eval.metrics=[psnr, data_misfit]")
    table = json.loads((go(recipe, *overrides) / "eval/table.json").read_text())
    psnr = {(r["method"], r["readout"]): r["metrics"]["psnr"]["value"] for r in table["rows"]}
    points = [(name, "point") for name in ("nearest", "linear", "biharmonic", "pinv", "tv")]
    assert list(psnr) == [*points, ("lmmse", "mean"), ("lmmse", "sample")]
    assert psnr["pinv", "point"] < psnr["nearest", "point"] < psnr["lmmse", "mean"] < 40  # 40: it has not seen them
    with raises(RecipeError, "eval.methods", "lmmse", 3072, "64x64", 12288, "eval.grids"):
        evaluate(recipe.parent / "run", ["eval.grids=[16, 64]"], "cpu")


def test_running_again_repeats_nothing(recipe, run_copy):
    files = [p for p in run_copy.rglob("*") if p.is_file() and p.name not in {"log.txt", "record.json"}]
    before = {p: p.stat().st_mtime_ns for p in files}
    heard = Heard()
    go(recipe, listener=heard)
    assert heard.steps == [] and heard.said
    changed = {p.name for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert changed <= {"recipe.yaml", "resolved.yaml", ".lock"}


def test_a_change_of_eval_redoes_only_that_and_more_steps_extend(recipe, run_copy):
    folder = run_copy
    first = weights(folder)
    heard = Heard()
    go(recipe, "eval.images=3", listener=heard)
    assert heard.steps == [] and json.loads((folder / "eval/table.json").read_text())["images"] == 3
    assert same(first, weights(folder))
    for methods in ("[gaussian]", "[model]"):  # as many settings, other names
        go(recipe, f"eval.methods={methods}")
        table = json.loads((folder / "eval/table.json").read_text())
        assert {row["method"] for row in table["rows"]} == {methods[1:-1]}
    go(recipe, "train.steps=8", listener=heard)
    assert heard.steps == [7, 8]


def test_another_recipe_or_seed_is_refused_with_the_way_out(recipe, run_copy):
    for change, named in (
        ("seed=4", ("seed=3", 4)),
        ("train.lr=0.5", ("train.lr",)),
        ("degradation.fraction=0.2", ("degradation.fraction",)),
    ):
        with raises(RecipeError, *named, "--out DIR", "--fresh"):
            go(recipe, change)
    go(recipe, "seed=4", fresh=True)
    assert (recipe.parent / "run.old1" / "eval" / "table.json").exists()
    (recipe.parent / "other").mkdir()
    (recipe.parent / "other" / "thesis.txt").write_text("precious")
    with raises(RecipeError, "other", "--out DIR"):
        run(load_recipe(recipe), recipe.parent / "other", "cpu")


@pytest.mark.parametrize("step", [1, 2, 5])
def test_killed_and_run_again_the_weights_are_the_same(recipe, trained_run, step):
    with pytest.raises(KeyError, match="killed"):
        go(recipe, listener=Heard(step, killed))
    heard = Heard()
    folder = go(recipe, listener=heard)
    assert heard.steps[0] == step // 2 * 2 + (step % 2) if step < 2 else heard.steps[0] <= step
    assert same(weights(trained_run), weights(folder))
    assert (folder / "eval/table.json").read_bytes() == (trained_run / "eval/table.json").read_bytes()
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [2, 4, 6]


def test_the_pictured_reconstruction_is_the_models(trained_run):
    trained, grid = load(trained_run, "cpu"), Grid(16, 16)
    images = trained.recipe.data.open("test", grid, 3)
    x = images[range(5)]
    keys = Keys.of(3, "sheet", range(5))
    m = Problem({grid: images}, trained.recipe.degradation, trained.recipe.noise, 3).measure(x, keys, grid)
    sheet = np.asarray(Image.open(io.BytesIO((trained_run / "samples/iter_000006.png").read_bytes())))

    def cell(column: int, row: int) -> np.ndarray:
        left, top = GAP + column * (CELL + GAP), HEADER + row * (CELL + GAP)
        return sheet[top : top + CELL, left : left + CELL][:: CELL // 16, :: CELL // 16].astype(int)

    def shown(x: torch.Tensor) -> np.ndarray:
        return ((x.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()

    mean = trained.mean(m)
    for row in range(5):
        assert np.abs(cell(2, row) - shown(mean[row])).max() <= 1
        assert np.abs(cell(6, row) - shown(x[row])).max() <= 1
        assert np.abs(cell(2, row) - cell(6, row)).mean() > 1  # and is not the truth


def test_a_loaded_run_answers_points(trained_run):
    trained = load(trained_run, "cpu")
    m = measure_points(torch.rand(2, 30, 2), torch.rand(2, 30, 3), Grid(16, 16))
    mean, samples = trained.mean(m), trained.sample(m, 3)
    assert mean.shape == (2, 3, 16, 16) and samples.shape == (3, 2, 3, 16, 16)
    assert torch.equal(samples, trained.sample(m, 3)) and not torch.equal(samples, trained.sample(m, 3, seed=1))
    finer = measure_points(torch.rand(1, 30, 2), torch.rand(1, 30, 3), Grid(32, 40))
    assert trained.mean(finer).shape == (1, 3, 32, 40)


def test_evaluating_again_and_elsewhere(recipe, run_copy):
    folder = run_copy
    before = (folder / "eval/table.json").read_bytes()
    assert evaluate(folder, device="cpu") == json.loads(before)
    other = evaluate(folder, ["degradation.fraction=0.5"], device="cpu")
    psnr = [t["rows"][3]["metrics"]["psnr"]["value"] for t in (json.loads(before), other)]
    assert psnr[1] > psnr[0] + 1
    assert (folder / "eval/table.json").read_bytes() == before
    with raises(RecipeError, "diffusion.schedule.sigma_min=0.1", "invkit run"):
        evaluate(folder, ["diffusion.schedule.sigma_min=0.1"], device="cpu")
    with raises(DataError, recipe.parent, "invkit run"):
        evaluate(recipe.parent)


def test_smoke_is_the_whole_recipe_in_seconds(recipe):
    heard = Heard()
    folder = run(
        load_recipe(recipe, ["data.name=cifar10", "data.root=/nowhere/at/all"]),
        recipe.parent / "s",
        "cpu",
        smoke=True,
        listener=heard,
    )
    assert any("cifar10" in text for text in heard.said) and not any("train.grids" in text for text in heard.said)
    assert (folder / "report.html").exists()


def test_smoke_has_small_grids_and_says_so(recipe):
    grids = "train.grids=[512, [96, 64]]", "eval.grids=[256]"
    small = smoke_recipe(load_recipe(recipe, grids), (said := []).append)
    assert (small.train.grids, small.eval.grids) == ((32, (48, 32)), (32,))
    assert said == ["smoke run: train.grids=[32, (48, 32)] instead of [512, (96, 64)]"]
    fixed = ["degradation={name: sparse-random, sensors: 4000}", *grids]
    small = smoke_recipe(load_recipe(recipe, fixed), (said := []).append)
    assert (small.train.grids, small.eval.grids) == ((512, (96, 64)), (256,))
    assert len(said) == 1 and "as in the recipe" in said[0] and "32x32" in said[0]


def test_a_budget_ends_a_training_and_is_gone_on_with(recipe):
    recipe.write_text(RECIPE.replace("steps: 6,", "budget: 1s,", 1).replace("strict", "fast"))
    folder = go(recipe, "eval.images=2")
    first = latest_checkpoint(folder / "checkpoints")
    assert first.meta["seconds"] >= 1
    heard = Heard()
    go(recipe, "eval.images=2", listener=heard)
    assert heard.steps == []
    go(recipe, "eval.images=2", "train.budget=2s")
    assert latest_checkpoint(folder / "checkpoints").step > first.step


def test_numbers_that_are_not_finite_leave_their_cause(recipe, monkeypatch):
    whole = Trainer._losses
    monkeypatch.setattr(
        Trainer, "_losses", lambda self, step, part: whole(self, step, part) * (math.nan if step == 4 else 1)
    )
    with raises(NonFiniteError, "step 5", "step 4", "train.lr", "nonfinite.json"):
        go(recipe)
    folder = recipe.parent / "run"
    cause = json.loads((folder / "nonfinite.json").read_text())
    assert cause["step"] == 5 and len(cause["pictures"]) == 4
    assert latest_checkpoint(folder / "checkpoints").step == 4
    monkeypatch.setattr(Trainer, "_losses", whole)
    assert latest_checkpoint(go(recipe) / "checkpoints").step == 6
