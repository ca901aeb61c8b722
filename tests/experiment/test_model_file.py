"""A model in one file, exported or shipped: equal to its run up to rounding, opened wherever a run is, refused if damaged."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save, save_file
from support.faults import mutated
from support.image_files import encoded, picture, write
from support.messages import missing, raises
from support.models import GRID, observe
from support.runs import Heard, go

from invkit.core.errors import DataError, NonFiniteError, RecipeError
from invkit.diffusion import Sample
from invkit.experiment import model_file
from invkit.experiment.export import export
from invkit.experiment.run import evaluate, evaluation, load
from invkit.experiment.run_folder import RunFolder
from invkit.training import model_file as reader
from invkit.training.checkpoint import latest_checkpoint


@pytest.fixture(scope="module")
def file(trained_run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.safetensors"
    export(trained_run, path, licence="MIT")
    return path


@pytest.fixture(params=["file", "pretrained"])
def given(request, file, tmp_path, monkeypatch) -> str:
    """The model as a user names it, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    if request.param == "file":
        return str(file)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    data = shutil.copy(file, shipped / file.name).read_bytes()
    (shipped / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  {file.name}\n")
    monkeypatch.setattr(model_file, "SHIPPED", shipped)
    return "pretrained:tiny"


def test_it_equals_its_run_up_to_rounding(file, trained_run):
    run, model = load(trained_run, "cpu"), load(file, "cpu")
    assert file.stat().st_size < 0.8 * (trained_run / "checkpoints/step-00000006/average.safetensors").stat().st_size
    for (name, p), (other, q) in zip(run.model.named_parameters(), model.model.named_parameters(), strict=True):
        assert name == other and torch.equal(p.half().float(), q) and q.dtype == torch.float32
    constants = (one.model.constants.tensors() for one in (run, model))
    for a, b in zip(*(one.values() for one in constants), strict=True):
        assert torch.equal(a, b)
    _, measurement = observe(3)
    for draw in (lambda t: t.mean(measurement), lambda t: t.sample(measurement, 2)):
        assert torch.allclose(draw(run), draw(model), atol=5e-3) and not torch.equal(draw(run), draw(model))
    assert run.recipe == model.recipe and model.step == 6


def test_it_holds_what_the_run_recorded(file, trained_run):
    model = RunFolder.find(file).model
    assert (model.checkpoint.meta["licence"], model.checkpoint.meta["images_seen"]) == ("MIT", 24)
    assert model.record["seed"] == 3 and model.record["versions"]["torch"]
    ((_, table),) = model.evaluations()
    stored = json.loads((trained_run / "eval/table.json").read_text())
    assert table["rows"] == stored["rows"]
    reasons = [load(path, "cpu").stored_calibrations(GRID, Sample(steps=2), 3)[1] for path in (trained_run, file)]
    assert reasons[0].replace(str(trained_run), str(file)) == reasons[1] and not missing(reasons[1], "eval.images=N")


def test_every_command_takes_it(given, file, invkit, recipe, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)).save("x.png")
    code, out, _ = invkit("reconstruct", given, "x.png", "--samples", 2, "--out", "out", "--device", "cpu")
    assert (code, out) == (0, "out/x\n")
    before = sorted(file.parent.rglob("*"))
    code, out, err = invkit("eval", given, "--format", "json", "--device", "cpu")
    table = json.loads(out)
    assert code == 0 and table["images"] == 5 and not missing(err, "runs/tiny")
    assert (tmp_path / "runs/tiny/eval/table.json").exists() and (tmp_path / "runs/tiny/report.html").exists()
    heard = Heard()
    assert evaluation(Path(given), (), "cpu", heard)[0] == table and heard.done == []  # up to date
    code, out, err = invkit("eval", "runs/tiny")
    assert code == 3 and not missing(err, "runs/tiny", given)
    few = ("train.steps=1", "eval.methods=[nearest]", "eval.images=2")
    folder = go(recipe, *few, f"train.init={given}")
    assert json.loads((folder / "record.json").read_text())["initialised"]["from"] == given
    with raises(RecipeError, "repaint.prior", given, "sparse-random", "nothing"):
        evaluate(folder, [f'eval.methods=[{{name: repaint, prior: "{given}"}}]'], "cpu")
    assert sorted(file.parent.rglob("*")) == before


def test_the_folder_of_its_evaluations_is_asked_for_if_it_is_another_runs(file, run_copy, monkeypatch, invkit):
    monkeypatch.chdir(run_copy.parent)
    (run_copy.parent / "runs").mkdir()
    taken = run_copy.rename(run_copy.parent / "runs" / "tiny")
    code, _, err = invkit("eval", file, "eval.images=2", "--device", "cpu")
    assert code == 2 and not missing(err, taken.relative_to(run_copy.parent), "--into")
    few = ("eval.images=2", "eval.methods=[nearest]", "eval.metrics=[psnr]")
    assert invkit("eval", file, *few, "--into", "mine", "--name", "few", "--device", "cpu")[0] == 0
    assert (run_copy.parent / "mine/eval/few/table.json").exists()
    code, _, err = invkit("eval", taken, "--into", "mine")
    assert code == 2 and not missing(err, "--into", taken)


def test_it_names_no_folder_of_the_machine_and_finds_files_beside_it(recipe, tmp_path):
    contents = {
        f"{split}/{i}.png": encoded(picture(i + k)) for split, k in (("train", 0), ("test", 6)) for i in range(6)
    }
    root = Path(write(tmp_path / "home" / "set", contents, False))
    few = ("train.steps=1", "eval.methods=[nearest]", "eval.metrics=[psnr]")
    run = go(recipe, "data.name=images", f"data.root={root}", *few)
    export(run, path := tmp_path / "moved" / "m.safetensors")
    with safe_open(path, "pt") as opened:
        assert str(tmp_path) not in (text := opened.metadata()["invkit"]) and "home" not in text
    own, model = load(run, "cpu").recipe, load(path, "cpu").recipe
    assert model.data.root == str(tmp_path / "moved" / "set") and own.data.root == str(root)
    root = root.rename(tmp_path / "moved" / "set")
    folder = RunFolder.find(path, tmp_path / "eval")
    assert evaluation(folder, (), "cpu")[0]["rows"][0]["metrics"] == evaluate(run, (), "cpu")["rows"][0]["metrics"]
    other = write(tmp_path / "other", {f"{i}.png": encoded(picture(i)) for i in (0, 1, 40, 41)}, False)
    heard = Heard()
    table, _ = evaluation(folder, [f"data.root={other}", "data.test_share=1"], "cpu", heard)
    assert table["images"] == 2 and any(not missing(line, 2, 4, "trained on them") for line in heard.said)


# What is refused.


def flipped(at):
    def change(data: bytes) -> bytes:
        place = int(at * (len(data) - 1))
        return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]

    return change


HEADER = {"__metadata__": {"invkit": json.dumps({"schema": "invkit.model/9", "step": 1, "meta": {}, "sha256": ""})}}
DAMAGES = {
    "empty": lambda data: b"",
    "a text": lambda data: b"seed: 3\ndata: photos\n" * 99,
    "a pickle": lambda data: pickle.dumps({"weights": [1.0]}),
    "of another program": lambda data: save({"a": torch.ones(3)}),
    "of another program, with metadata": lambda data: save({"a": torch.ones(3)}, {"format": "pt"}),
    "of a later version": lambda data: save({"a": torch.ones(3)}, HEADER["__metadata__"]),
    "its manifest no object": lambda data: save({"a": torch.ones(3)}, {"invkit": "[1]"}),
    "too long": lambda data: data + b"\0",
    **{f"cut at {share}": lambda data, share=share: data[: int(share * len(data))] for share in (0.001, 0.1, 0.999)},
    **{f"flipped at {at}": flipped(at) for at in (0, 0.0001, 0.02, 0.3, 0.7, 1)},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(file, tmp_path, name, invkit):
    (path := tmp_path / "m.safetensors").write_bytes(DAMAGES[name](file.read_bytes()))
    with raises(DataError, path, "invkit export") as caught:
        load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    if name == "cut at 0.1":
        code, out, err = invkit("eval", path)
        assert (code, out, err.count("\n")) == (3, "", 1) and err.startswith(f"error: {path}")


def test_the_digest_covers_manifest_header_and_weights(file, tmp_path):
    """Without it a flipped bit of the weights and another learning rate in the recipe are taken."""
    careless = mutated("invkit.training.model_file", ("!= _digest(manifest, entries, data)", "is None"))
    data = file.read_bytes()
    for name, changed in (("weight", flipped(0.7)(data)), ("recipe", data.replace(b"lr: 0.001", b"lr: 0.002"))):
        (path := tmp_path / f"{name}.safetensors").write_bytes(changed)
        assert changed != data and careless.read_model(path).step == 6
        with raises(DataError, path, "digest"):
            reader.read_model(path)


def test_a_forged_one_of_another_structure_is_refused(file, tmp_path):
    found = reader.read_model(file)
    others = (("recipe", [1]), ("record", "x"), ("record", {"files": {"a": 1}}), ("evaluations", [1]), ("paths", 3))
    for key, value in others:
        reader.write_model(path := tmp_path / "m.safetensors", 6, found.tensors, {**found.meta, key: value})
        with raises(DataError, path, "structure"):
            load(path)
    tensors = {**found.tensors, "average": {**found.tensors["average"], "token": torch.zeros(3)}}
    reader.write_model(path, 6, tensors, found.meta)
    with raises(DataError, "token", (3,), (8,)):
        load(path)
    with raises(NonFiniteError, "half", "average/token"):
        reader.write_model(path, 6, {"average": {"token": torch.full((8,), 7e4)}}, {})


@pytest.mark.parametrize("given", ["pretrained"], indirect=True)
def test_a_shipped_one_is_checked_against_its_sum(given, tmp_path):
    with raises(RecipeError, "pretrained:tinny", "tiny", "invkit models"):
        load(Path("pretrained:tinny"))
    shipped = tmp_path / "shipped" / "tiny.safetensors"
    shipped.write_bytes(shipped.read_bytes() + b" ")
    with raises(DataError, given, "SHA256SUMS", shipped):
        load(Path(given))
    shipped.unlink()
    with raises(DataError, given, shipped):
        load(Path(given))


def test_export_replaces_nothing_unasked(file, trained_run, tmp_path, invkit):
    path, data = tmp_path / "m.safetensors", file.read_bytes()
    code, out, _ = invkit("export", trained_run, path, "--licence", "MIT")
    assert code == 0 and out == f"{path}: {len(data) / 1e6:.1f} MB\n" and path.read_bytes() == data
    code, out, err = invkit("export", trained_run, path)
    assert (code, out) == (2, "") and not missing(err, path, "--force") and path.read_bytes() == data
    assert invkit("export", trained_run, path, "--force")[0] == 0 and path.read_bytes() != data  # another licence
    assert invkit("export", trained_run, tmp_path / "m.bin")[0] == 2
    assert invkit("export", tmp_path, tmp_path / "n.safetensors")[0] == 3
    export(file, again := tmp_path / "again.safetensors", licence="MIT")
    assert again.read_bytes() == data


def test_an_unfinished_run_is_exported_and_says_so(run_copy, tmp_path):
    settings = (run_copy / "resolved.yaml").read_text().replace("  steps: 6\n", "  steps: 9\n", 1)
    (run_copy / "resolved.yaml").write_text(settings)
    _, note = export(run_copy, path := tmp_path / "m.safetensors")
    assert not missing(note, 6, 9) and latest_checkpoint(run_copy / "checkpoints").step == 6
    table, _ = evaluation(RunFolder.find(path, tmp_path / "e"), ["eval.images=2", "eval.methods=[nearest]"], "cpu")
    assert any(not missing(line, "exported", 6, 9) for line in table["notes"])


def test_a_file_that_cannot_be_is_no_model(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "x.safetensors")
    with raises(DataError, "link.safetensors"):
        load(tmp_path / "link.safetensors")
    with raises(DataError, "gone.safetensors", "run folder"):
        load(tmp_path / "gone.safetensors")
