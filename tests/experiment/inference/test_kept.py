"""An interrupted reconstruction goes on with what is finished, and says how long it takes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import missing
from support.models import build

from invkit.experiment import drawing
from invkit.experiment.inference import infer as module
from invkit.experiment.inference.job import Options, reconstruct
from invkit.experiment.trained_model import Trained
from invkit.recipe.recipe import load_recipe

HEAD = "data: photos\nsample: {method: heun, steps: 2}\ntrain: {grids: [16]}\ndegradation: {name: sparse-random, fraction: 0.3}\n"
VALUES = 3 * 40 * 34


class Stopped(BaseException):
    """Stands for a signal."""


@pytest.fixture
def trained(write) -> Trained:
    return Trained(load_recipe(write(HEAD)), build(perturb=0.02), torch.device("cpu"), 5)


@pytest.fixture
def go(trained, tmp_path):
    """Reconstructs two images: entries, messages and the progress of each file."""
    rng = np.random.default_rng(0)
    for name in ("x.png", "y.png"):
        Image.fromarray(rng.integers(0, 256, (34, 40, 3), np.uint8)).save(tmp_path / name)

    def go(out="out", model=None, stop: Callable[[str, int], bool] = lambda file, done: False, **options):
        heard: list[str] = []
        seen: list[tuple[str, int, int]] = []

        def meter(label):
            def progress(done, total):
                seen.append((Path(label).name, done, total))
                if stop(Path(label).name, done):
                    raise Stopped

            return progress

        inputs = [tmp_path / "x.png", tmp_path / "y.png"]
        chosen = replace(Options(samples=5), **options)
        entries = []
        try:
            for entry in reconstruct(model or trained, "run", inputs, tmp_path / out, chosen, heard.append, meter):
                entries.append(entry)
        except Stopped:
            pass
        return entries, heard, seen

    return go


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("tiles", [True, False])
def test_an_interrupted_call_goes_on_with_its_samples(go, tmp_path, monkeypatch, tiles):
    monkeypatch.setattr(module, "PORTION", 2 * VALUES)  # portions of 2, 2 and 1 samples
    size = 9 if tiles else 1
    whole, _, seen = go("whole", tiles=tiles)
    assert {total for _, _, total in seen} == {size * (1 + 5 * 3)}
    assert [done for name, done, _ in seen if name == "y.png"][-1] == size * 16
    stopped, _, before = go(tiles=tiles, stop=lambda file, done: file == "y.png" and done > size * (1 + 2 * 3 + 1))
    assert len(stopped) == 1 and (tmp_path / "out" / "x.npz").exists() and not (tmp_path / "out" / "y.npz").exists()
    entries, heard, after = go(tiles=tiles)
    assert entries == whole
    assert any(not missing(text, "x.png", "finished") for text in heard)
    assert any(not missing(text, "y.png", 2, 5) for text in heard)
    assert {name for name, _, _ in after} == {"y.png"} and after[0][1] > size * (1 + 2 * 3)
    assert after[-1][1:] == (size * 16, size * 16) and len(after) < len(seen)
    assert len(before) + len(after) <= len(seen) + 3  # only the portion in hand was lost
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not list((tmp_path / "out" / ".partial").iterdir())


def test_other_options_weights_or_inputs_begin_anew(go, trained, tmp_path):
    go()
    assert any("finished" in text for text in go()[1])
    for options in ({"samples": 4}, {"seed": 1}, {"grid": "17"}, {"steps": 3}, {"sampler": "em"}, {"tiles": False}):
        assert not any("finished" in text for text in go(**options)[1]), options
        go()
    other = Trained(trained.recipe, build(perturb=0.03), trained.device, 5)
    assert not any("finished" in text for text in go(model=other)[1])
    go()
    pixels = np.asarray(Image.open(tmp_path / "x.png")).copy()
    pixels[0, 0] ^= 255
    pixels[20:, 20:] ^= 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    said = [text for text in go()[1] if "finished" in text]
    assert len(said) == 1 and not missing(said[0], "y.png")
    (tmp_path / "out" / "y" / "mean.png").unlink()
    assert [text for text in go()[1] if "finished" in text] != said
    record = json.loads((tmp_path / "out" / "reconstruct.json").read_text())
    assert [entry["name"] for entry in record["outputs"]] == ["x", "y"]


@pytest.mark.parametrize("tiles", [True, False])
def test_a_long_computation_is_announced(go, monkeypatch, tiles):
    """If the clock says that one network call of the measured part takes a second, the whole takes what their number says."""
    monkeypatch.setattr(module, "PORTION", VALUES)
    monkeypatch.setattr(drawing, "_timed", lambda work: (work(), 12.0)[1])
    monkeypatch.setattr(drawing, "TIMED", 6)
    _, heard, _ = go(tiles=tiles)
    # tiles: of 9 tiles 6 take 12 s for kriging, and 12 s for each of 16 calls; whole: 16 calls of 12 s
    seconds = 9 * (12 + 16 * 12) / 6 if tiles else 16 * 12
    minutes = f"{seconds / 60:.1f}"
    assert any(not missing(text, "x.png", f"{minutes} minutes", 16 * (9 if tiles else 1)) for text in heard), heard
    monkeypatch.setattr(drawing, "_timed", lambda work: 0.01)
    assert not any("minutes" in text for text in go("quick", tiles=tiles)[1])
