import json
import shutil

import numpy as np
import pytest
from support.messages import missing, raises
from support.runs import Heard, killed

from invkit.core.errors import DataError, RecipeError
from invkit.evaluation.combine import merge_runs, per_image
from invkit.evaluation.table import render
from invkit.experiment import evaluate as experiment
from invkit.experiment.run import evaluate, run
from invkit.recipe.recipe import load_recipe

RECIPE = """
data: {name: photos}
degradation: {name: mixture, of: [sparse-random, superres-mean]}
noise: {sigma: 0.1}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, patch: 2, modes: 3}
train: {steps: 2, batch: 4, grids: [16], precision: float32}
sample: {steps: 2}
eval: {images: 6, samples: 5, batch: 4, grids: [16, 12], methods: [gaussian, model], save: all, save_samples: all}
log: {tensorboard: false}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    (folder / "tiny.yaml").write_text(RECIPE)
    return run(load_recipe(folder / "tiny.yaml"), folder / "run", "cpu")


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def values(table: dict) -> dict[tuple, float | None]:
    return {
        (row["degradation"], row["method"], row["readout"], *row["grid"], name, end): entry[end]
        for row in table["rows"]
        for name, entry in row["metrics"].items()
        for end in ("value", "lo", "hi")
    }


def test_from_everything_saved_it_is_the_table(copied):
    """Without the weights, and with the run's own table as it was."""
    shutil.rmtree(copied / "checkpoints")
    before = (copied / "eval" / "table.json").read_bytes()
    again = evaluate(copied, device="cpu", from_saved=True)
    expected, found = values(json.loads(before)), values(again)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-7)), key
    assert again["protocol"]["masks_sha256"] == json.loads(before)["protocol"]["masks_sha256"]
    assert (copied / "eval" / "table.json").read_bytes() == before


def test_other_metrics_can_be_had_and_nothing_else(copied):
    table = evaluate(copied, ["eval.metrics=[mae, coverage_50]"], "cpu", from_saved=True)
    assert {name for row in table["rows"] for name in row["metrics"]} == {"mae", "coverage_50"}
    for other in ("eval.images=3", "sample.steps=3", "degradation.name=sparse-random"):
        with raises(RecipeError, other, "--from-saved", "eval.metrics", "eval.paired_to"):
            evaluate(copied, [other], "cpu", from_saved=True)


def test_a_few_pictures_and_samples_are_said_and_leave_gaps(copied):
    heard = Heard()
    evaluate(copied, ["eval.save=4", "eval.save_samples=2"], "cpu", heard, name="few")
    table = evaluate(copied, device="cpu", from_saved=True, name="few")
    note = table["protocol"]["from_saved"]
    assert not missing(note, "4 of 6", "2 of 5") and note in render(table)
    assert (table["images"], table["protocol"]["samples"]) == (4, 2)
    samples = [row for row in table["rows"] if row["readout"] == "sample"]
    assert all(row["samples"] == 2 for row in samples)
    assert not missing(samples[0]["metrics"]["coverage_50"]["reason"], 2, "50 %", 3)
    assert samples[0]["metrics"]["crps"]["value"] > 0


def test_nothing_stored_is_pasted_or_clipped(copied):
    """A mask with noise, whose misfit would be nothing were the measurement pasted in."""
    arrays = dict(np.load(copied / "eval/reconstructions/model-16x16-sparse-random.npz"))
    truth = dict(np.load(copied / "eval/reconstructions/truth-16x16-sparse-random.npz"))
    assert arrays["samples"].shape == (5, 6, 3, 16, 16) and arrays["samples"].dtype == np.float32
    assert truth["group"].shape == (6,) and truth.keys() == {"truth", "y", "group"}  # a mixture that is no mask


def test_what_cannot_be_used_is_said_with_the_way_out(copied):
    stem = copied / "eval/reconstructions/truth-16x16-sparse-random.npz"
    whole, arrays = stem.read_bytes(), dict(np.load(stem))
    for change in (
        lambda: stem.write_bytes(whole[:100]),
        lambda: stem.unlink(),
        lambda: np.savez(stem, truth=arrays["truth"], y=arrays["y"]),  # of an earlier version
        lambda: np.savez(stem, **{**arrays, "y": -arrays["y"]}),
        lambda: np.savez(stem, **{**arrays, "group": np.array([{}] * 6)}),
    ):
        change()
        with raises(DataError, "invkit eval"):
            evaluate(copied, device="cpu", from_saved=True)
    (copied / "eval/table.json").unlink()
    with raises(DataError, copied, "invkit eval"):
        evaluate(copied, device="cpu", from_saved=True)


def test_much_is_said_beforehand_and_too_much_is_refused(copied, monkeypatch):
    heard = Heard()
    monkeypatch.setattr(experiment, "LARGE", 1e3)
    evaluate(copied, ["eval.images=3"], "cpu", heard)
    # 3 pictures, 3 channels of 16x16 + 12x12 floats: truth, y, 2 means and 2 x 5 samples, 2 degradations
    size = 3 * 3 * (256 + 144) * 4 * (2 + 2 + 10) * 2 / 1e6
    assert any(f"{size:,.0f} MB" in text for text in heard.said)

    class Full:
        free = 1000

    monkeypatch.setattr(experiment.shutil, "disk_usage", lambda _: Full)
    with raises(RecipeError, "eval.save", "eval.save_samples"):
        evaluate(copied, ["eval.images=2"], "cpu")


def test_an_evaluation_that_was_stopped_goes_on(copied, monkeypatch):
    """Stopped in the second degradation; the first one is not evaluated again, and the table is the same bytes."""

    class Stopping(Heard):
        def evaluated(self, done, total):
            super().evaluated(done, total)
            if done > 16:
                killed()

    (copied / "eval/done.json").unlink()
    expected = {name: (copied / "eval" / name).read_bytes() for name in ("table.json", "table.csv", "per_image.csv")}
    with pytest.raises(KeyError, match="killed"):
        evaluate(copied, device="cpu", listener=Stopping())
    assert list((copied / "eval/partial").rglob("*.safetensors")) and not (copied / "eval/done.json").exists()
    heard = Heard()
    evaluate(copied, device="cpu", listener=heard)
    done = [done for done, _ in heard.done]
    assert done[0] == 6 and done == sorted(done) and done[-1] == 24
    assert len(done) < 14  # of 24 pictures in batches of 4, 2 methods and the batch itself
    assert {name: (copied / "eval" / name).read_bytes() for name in expected} == expected
    assert not (copied / "eval/partial").exists()
    record = json.loads((copied / "record.json").read_text())
    assert (
        record["evaluated"]["weights_sha256"]
        == json.loads(expected["table.json"])["protocol"]["checkpoint"]["weights_sha256"]
    )
    assert record["evaluated"]["versions"]["torch"] and record["evaluated"]["device"] == "cpu"


def test_runs_on_the_same_measurements_pair_and_others_are_told(made, copied):
    tables = [evaluate(folder, device="cpu") for folder in (made, copied)]
    tables[1] = json.loads(json.dumps(tables[1]).replace('"run": "run"', '"run": "other"'))
    assert all("equals its initial estimate" in table.pop("notes")[0] for table in tables)
    lines = [per_image(folder / "eval") for folder in (made, copied)]
    for line in lines[1]:
        line["psnr"] = str(float(line["psnr"]) + 0.5)
    merged = merge_runs(tables, lines)
    notes = [note for note in merged["notes"] if not missing(note, "other", "run", "model mean")]
    assert len(notes) == 4 and not any(missing(note, "psnr 0.5", "crps 0") for note in notes)
    assert len(merged["notes"]) == 16  # of four rows at two grids of two degradations, and nothing else
    assert all(note in render(merged, "md") for note in notes)
    tables[1]["protocol"]["masks_sha256"]["16x16, sparse-random"] = "another"
    tables[1]["protocol"]["samples"] = 19
    apart, differ = merge_runs(tables, lines)["notes"]
    assert not missing(apart, "run", "other") and not missing(differ, "run", "other", "samples", 5, 19)
