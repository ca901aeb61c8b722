"""`train.init`: a training starts from the averaged weights of another run."""

import json
import shutil

import pytest
import torch
from support.messages import missing, raises
from support.models import build
from support.runs import Heard, go, killed, weights

from invkit.core.errors import DataError, RecipeError
from invkit.experiment.initial_weights import InitialWeights
from invkit.experiment.run import load
from invkit.experiment.trained_model import weights_sha256
from invkit.training.checkpoint import Checkpoint, latest_checkpoint

STILL = ("train.steps=1", "train.lr=1e-12", "train.muon_lr=1e-12", "eval.methods=[nearest]", "eval.images=2")


def averages(folder):
    return {k.removeprefix("average/"): v for k, v in weights(folder).items() if k.startswith("average/")}


def moved(before, after):
    return {name for name in before if not torch.allclose(before[name], after[name], atol=1e-6)}


def test_it_starts_from_the_averaged_weights_and_fits_its_own_constants(recipe, trained_run):
    change = ("degradation.fraction=0.4", "seed=8", "train.grids=[20]")
    folder = go(recipe, *STILL, *change, f"train.init={trained_run}", listener=(heard := Heard()))
    before, after = averages(trained_run), averages(folder)
    assert moved(before, after) == set() and before.keys() == after.keys()
    record = json.loads((folder / "record.json").read_text())["initialised"]
    assert record == {
        "from": str(trained_run), "step": 6, "weights_sha256": load(trained_run).weights, "not_taken": {},
    }  # fmt: skip
    assert sum(not missing(line, "train.init", trained_run, 6) for line in heard.said) == 1
    ours, theirs = (latest_checkpoint(f / "checkpoints").tensors["constants"] for f in (folder, trained_run))
    assert not torch.equal(ours["scale"], theirs["scale"]) and int(ours["reference"]) == 20


def test_where_shapes_differ_the_parameters_are_named_and_the_others_taken(recipe, trained_run):
    folder = go(recipe, *STILL, "model.modes=2", f"train.init={trained_run}", listener=(heard := Heard()))
    before, after = averages(trained_run), averages(folder)
    differ = {name for name in before if before[name].shape != after[name].shape}
    assert differ and moved(*({k: v for k, v in x.items() if k not in differ} for x in (before, after))) == set()
    assert json.loads((folder / "record.json").read_text())["initialised"]["not_taken"].keys() == differ
    (line,) = [line for line in heard.said if "train.init" in line]
    name = min(differ)
    there, here = (str(tuple(x[name].shape)) for x in (before, after))
    assert f"{name} ({there} there, {here} here)" in line and "\n" not in line


def test_the_source_is_not_needed_any_more_once_there_is_a_checkpoint(recipe, trained_run, tmp_path):
    source = shutil.copytree(trained_run, tmp_path / "source")
    settings = (f"train.init={source}", "seed=8", "eval.methods=[nearest]", "eval.images=2")
    with pytest.raises(KeyError, match="killed"):
        go(recipe, *settings, listener=Heard(5, killed))
    shutil.rmtree(source)
    go(recipe, *settings, listener=(heard := Heard()))
    assert heard.steps == [5, 6]
    with raises(RecipeError, "train.init", "--fresh"):
        go(recipe, *settings[1:])


def test_a_source_that_is_missing_or_damaged_and_one_without_a_parameter_in_common(recipe, run_copy, tmp_path, invkit):
    code, out, err = invkit("run", recipe, f"train.init={tmp_path / 'gone'}", "--out", tmp_path / "new")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out) == (3, "") and not missing(line, "train.init", tmp_path / "gone", "invkit run")
    source = run_copy.rename(tmp_path / "source")
    with raises(RecipeError, "train.init", "other", "token"):
        InitialWeights("other", Checkpoint(1, {"average": {"a": torch.ones(2)}}, {})).give(build(), print)
    for file in source.rglob("average.safetensors"):
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    with raises(DataError, "train.init", "average.safetensors"), pytest.warns(UserWarning, match="damaged"):
        go(recipe, f"train.init={source}", fresh=True)


def test_the_digest_is_that_of_the_table(trained_run):
    table = json.loads((trained_run / "eval" / "table.json").read_text())
    assert weights_sha256(averages(trained_run)) == table["protocol"]["checkpoint"]["weights_sha256"]
