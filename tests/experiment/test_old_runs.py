"""A run folder that version 0.1 wrote (`support/run_0_1.zip`) evaluates, reconstructs and resumes."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import ROOT

import invkit
from invkit.core.errors import DataError
from invkit.recipe.recipe import load_recipe

STORED = ROOT / "tests" / "support" / "run_0_1.zip"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The run of 4 steps; `expected.json` holds the losses of 6 steps and the figures after them, as 0.1 made them."""
    with zipfile.ZipFile(STORED) as archive:
        archive.extractall(tmp_path / "run")
    return tmp_path / "run"


def figures(table: dict) -> list[float]:
    return [row["metrics"][name]["value"] for row in table["rows"] for name in ("psnr", "crps", "mae")]


def test_it_evaluates_to_its_table(old):
    stored = json.loads((old / "eval" / "table.json").read_text())
    (old / "eval" / "done.json").unlink()  # the table is computed again
    assert figures(invkit.evaluate(old)) == pytest.approx(figures(stored), rel=1e-3)
    assert figures(invkit.evaluate(old, from_saved=True)) != []


def test_it_reconstructs(old, tmp_path, invkit):
    y, x = np.mgrid[:16, :22]
    image = tmp_path / "in.png"  # masks are keyed by name
    Image.fromarray(np.stack([8 * x + 4 * y, 200 - 6 * x + 3 * y, 40 + 10 * y], -1).astype(np.uint8)).save(image)
    code, _, _ = invkit("reconstruct", old, image, "--out", tmp_path / "out", "--samples", 3)
    assert code == 0
    with np.load(tmp_path / "out" / "in.npz") as made, np.load(old / "expected.npz") as expected:
        assert np.abs(made["mean"] - expected["mean"]).max() < 1e-3
        assert np.abs(made["samples"] - expected["samples"]).max() < 0.02


def test_it_resumes(old):
    expected = json.loads((old / "expected.json").read_text())
    recipe = load_recipe(old / "resolved.yaml", ["train.steps=6"])
    invkit.run(recipe, out=old)
    records = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
    assert [record["loss"] for record in records] == pytest.approx(expected["losses"], rel=1e-3)
    table = json.loads((old / "eval" / "table.json").read_text())
    found = [row["metrics"]["crps"]["value"] for row in table["rows"]]
    assert found == pytest.approx(expected["crps_after_6_steps"], rel=1e-2)


def test_it_is_the_stored_weights_that_are_used(old):
    """The mutant: without the checkpoint nothing of the above is possible."""
    for file in (old / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(DataError):
        invkit.load(old)
