"""Calibrated intervals of a run: from its evaluation to `reconstruct --calibrated` and `Posterior.interval`."""

import json
import shutil

import numpy as np
import pytest
import torch
from support.image_files import encoded
from support.messages import missing, raises
from support.runs import go

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.experiment.run import evaluate, load
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Noise, measure
from invkit.physics.points import measure_points
from invkit.reconstructors.posterior import Posterior

RECIPE = """\
data: {name: fields, field: {name: matern, std: 0.3, length: 0.3}}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 2, batch: 4, grids: [12], precision: float32}
sample: {steps: 2}
eval: {images: 60, samples: 9, metrics: [psnr], methods: [model], save: 1, batch: 60}
log: {tensorboard: false}
"""
FIELD = MaternField(std=0.3, length=0.3, exponent=2.0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    (folder / "tiny.yaml").write_text(RECIPE)
    return go(folder / "tiny.yaml")


@pytest.fixture
def cells(calibrated, tmp_path, monkeypatch):
    """A copy of the run, and image files like those of its data set, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, side in (("x.png", 12), ("large.png", 14)):
        x = FIELD.sample(Keys.of(4, "file", [0]), Grid(side, side))[0].clamp(-1, 1)
        (tmp_path / name).write_bytes(encoded(((x + 1) * 127.5).byte().permute(1, 2, 0).numpy()))
    return shutil.copytree(calibrated, tmp_path / "cells")


def risk(folder):
    return json.loads((folder / "eval" / "table.json").read_text())["calibration"][0]["risk"]


def test_it_is_written_with_what_it_promises(cells, invkit, tmp_path):
    code, out, err = invkit("reconstruct", cells, "x.png", "--out", "out", "--samples", 9, "--calibrated", "--json")
    assert code == 0, err
    factor = risk(cells)["factor"]
    line = next(line for line in err.splitlines() if "contains" in line)
    facts = ("x.png", f"{factor:.3g}", "90 %", 30, "hidden pixels", "sparse-random", "12x12", "9 samples", "dpmpp-2m")
    assert not missing(line, *facts)
    (entry,) = json.loads(out)["outputs"]
    assert entry["interval"] == 90 and entry["promise"] in line and entry["calibration"]["factor"] == factor
    with np.load(tmp_path / "out" / "x.npz") as arrays:
        mean, half = arrays["samples"].mean(0), factor * arrays["deviation"]
        assert np.allclose(arrays["lower"], mean - half, atol=1e-5) and np.allclose(
            arrays["upper"], mean + half, atol=1e-5
        )
        assert (arrays["lower"] == arrays["upper"])[np.broadcast_to(arrays["observed"], arrays["lower"].shape)].all()
    assert {"out/x/lower.png", "out/x/upper.png"} <= {f"out/{name}" for name in entry["pictures"]}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--samples", 7), 2, ("9 samples", 7, "invkit eval", "eval.samples=7")),
        (("--samples", 9, "--steps", 3), 2, ("2 steps", "3 steps", "sample.steps=3")),
        (("--samples", 9, "--sampler", "em"), 2, ("dpmpp-2m", "em", "sample.method.name=em")),
        (("--samples", 9, "--grid", "14"), 2, ("12x12", "14x14", "--grid 12x12", "eval.grids=[[14,14]]")),
    ],
)
def test_other_samples_have_no_promise(cells, invkit, arguments, code, said):
    got, _, err = invkit("reconstruct", cells, "x.png", "--out", "out", "--calibrated", *arguments)
    (line,) = err.splitlines()
    assert got == code and not missing(line, "cells", "--calibrated", *said)


def test_the_command_that_a_message_gives_helps(cells, invkit):
    more = ("sample.steps=3", "eval.samples=4", "eval.grids=[[14,14]]")
    ask = ("reconstruct", cells, "large.png", "--out", "out", "--calibrated", "--samples", 4, "--steps", 3)
    assert invkit(*ask)[0] == 2
    assert invkit("eval", cells, *more)[0] == 0
    assert invkit(*ask)[0] == 0
    with raises(ValueError, "90 %", "eval.alpha"):
        fields(load(cells, "cpu")).interval(80, calibrated=True)
    evaluate(cells, ["eval.alpha=0.2"], "cpu")
    wide, narrow = (
        interval[1] - interval[0] for interval in map(fields(load(cells, "cpu")).interval, (90, 80), (True, True))
    )
    assert (wide >= narrow).all() and wide.sum() > narrow.sum()


def fields(trained, sigma=0.0, degradation=None, **settings):
    keys, grid = Keys.of(5, "fields", [0]), Grid(12, 12)
    operator = (degradation or trained.recipe.degradation).sample(keys, grid)
    measurement = measure(operator, FIELD.sample(keys, grid), Noise(sigma=sigma), keys.child("n"))
    return trained.posterior(measurement, 9, **settings)


@pytest.mark.filterwarnings("ignore:1 of 1 measurements")
def test_from_python(cells):
    trained = load(cells, "cpu")
    posterior = fields(trained)
    lower, upper = posterior.interval(90, calibrated=True)
    assert torch.allclose((upper - lower) / 2, risk(cells)["factor"] * posterior.deviation, atol=1e-6)
    assert not missing(posterior.calibration(90).promise("pixels"), 90, 30)
    points = measure_points(np.random.default_rng(0).random((15, 2)), np.zeros((15, 3)), 12)
    alone = Posterior(posterior.measurement, posterior.mean, posterior.samples)
    for other, facts in (
        (fields(trained, sampler="em"), ("em", "dpmpp-2m")),
        (fields(trained, sigma=0.1), ("noise", 0.1)),
        (trained.posterior(points, 9), ("points",)),
        (trained.posterior(posterior.measurement, 9, tiles=True), ("tiles",)),
        (alone, ("run",)),
    ):
        with raises(ValueError, *facts):
            other.interval(90, calibrated=True)


def test_factors_are_of_the_weights_the_settings_and_the_code(cells, invkit, monkeypatch):
    """The mutants: a stored factor that another change of the run would make wrong is not used."""
    monkeypatch.setattr("invkit.experiment.calibration.plugin_code", lambda recipe: {"degradation half": "half.py 2"})
    place = cells / "eval" / "done.json", cells / "eval" / "table.json"
    stamp, table = (json.loads(path.read_text()) for path in place)
    first = {**table["calibration"][0], "risk": {**risk(cells), "factor": None, "reason": "needs 50"}}
    old = {key: value for key, value in first.items() if key != "risk"}
    other = {**table["protocol"], "checkpoint": {"weights_sha256": "0" * 64}}
    for new_stamp, new_table, facts in (
        (stamp, {**table, "protocol": other}, ("other weights", "invkit eval")),
        ({**stamp, "settings": {**stamp["settings"], "noise.sigma": 0.2}}, table, ("noise.sigma", 0.2)),
        ({**stamp, "settings": {**stamp["settings"], "data.field.std": 0.7}}, table, ("data.field.std", 0.7)),
        ({**stamp, "code": {"degradation half": "half.py 1"}}, table, ("half.py 1", "half.py 2")),
        (stamp, {**table, "calibration": [first]}, ("needs 50", "eval.images=N")),
        (stamp, {**table, "calibration": [old]}, ("--name calibrated",)),
        (stamp, {**table, "calibration": []}, ("invkit eval",)),
    ):
        for path, content in zip(place, (new_stamp, new_table), strict=True):
            path.write_text(json.dumps(content))
        code, _, err = invkit("reconstruct", cells, "x.png", "--out", "out", "--samples", 9, "--calibrated")
        assert code == 2 and not missing(err, "no calibrated interval", *facts), err


def test_unlike_measurements_have_no_promise(cells, invkit, tmp_path):
    (tmp_path / "mask.png").write_bytes(encoded(np.uint8(255) * (np.random.default_rng(0).random((12, 12)) < 0.9)))
    ask = ("reconstruct", cells, "x.png", "--mask", "mask.png", "--out", "out", "--samples", 9)
    assert invkit(*ask)[0] == 0
    code, _, err = invkit(*ask, "--calibrated")
    assert code == 3 and not missing(err.splitlines()[-1], "x.png", "no calibrated interval", "out of distribution")


def test_photographs_are_too_few(run_copy, invkit, tmp_path):
    (tmp_path / "p.png").write_bytes(encoded(np.zeros((16, 16, 3), np.uint8)))
    code, _, err = invkit(
        "reconstruct", run_copy, tmp_path / "p.png", "--out", tmp_path / "o", "--samples", 3, "--calibrated"
    )
    assert code == 2 and not missing(err, "needs 50 images of different photographs", "there are 5", "eval.images=N")


def test_a_stored_table_without_the_settings_is_up_to_date(cells):
    done = cells / "eval" / "done.json"
    stamp = json.loads(done.read_text())
    stamp["settings"] = {
        key: value for key, value in stamp["settings"].items() if key not in ("eval.alpha", "eval.delta")
    }
    done.write_text(json.dumps(stamp))
    evaluate(cells, device="cpu")
    assert json.loads(done.read_text()) == stamp
