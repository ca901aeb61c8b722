"""Runs without clean training images: stopped and resumed, evaluated, loaded; and refused where they cannot work."""

import json
import sys
from pathlib import Path

import pytest
from support.messages import missing
from support.runs import Heard, go, killed, same, weights

from invkit.data.photos import PhotoCrops
from invkit.experiment.run import load
from invkit.physics.points import measure_points

OWN = (
    "train.clean=false",
    "train.held=[0.3,0.6]",
    "degradation.fraction=0.3",
    "noise.sigma=0.05",
    "eval.methods=[model]",
)


def test_a_run_is_resumed_validated_and_says_what_it_was_trained_on(recipe):
    own = (*OWN, "train.evaluate_every=3", "train.evaluate_images=5")
    with pytest.raises(KeyError, match="killed"):
        go(recipe, *own, listener=Heard(5, killed))
    resumed = weights(go(recipe, *own, listener=(heard := Heard())))
    assert heard.steps == [5, 6]
    folder = go(recipe, *own, fresh=True)
    assert same(weights(folder), resumed)
    table = json.loads((folder / "eval" / "table.json").read_text("utf-8"))
    assert any("train.clean=false" in note for note in table["notes"])
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    found = [record["validation"] for record in logged if "validation" in record]
    assert len(found) == 2 and all(set(values) == {"sample/crps"} and values["sample/crps"] > 0 for values in found)
    small, inputs = load(folder), [[0.1, 0.2], [0.7, 0.8], [0.4, 0.6]]
    posterior = small.posterior(measure_points(inputs, [[0.1] * 3, [-0.2] * 3, [0.3] * 3], 16), count=2)
    assert posterior.mean.isfinite().all()
    assert "train.clean=false" in (folder / "report.html").read_text("utf-8")


def test_training_reads_no_image_but_to_measure_it(recipe, monkeypatch):
    """All that reads training images is the wrapper that leaves their measured pixels."""
    readers = []
    plain = PhotoCrops.__getitem__

    def read(self, ids):
        if self.split == "train":
            readers.append(Path(sys._getframe(1).f_code.co_filename).name)
        return plain(self, ids)

    monkeypatch.setattr(PhotoCrops, "__getitem__", read)
    go(recipe, *OWN)
    assert set(readers) == {"incomplete.py"}


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ("degradation={name: blur-gaussian}", ("train.clean=true", "all channels")),
        ("degradation={name: sparse-grid}", ("0 pairs of measured pixels", "train.clean=true")),
        ("train.grids=[16,32]", ("single grid",)),
        ("eval.methods=[model,lmmse]", ("lmmse", "clean training images", "train.clean=false")),
    ],
)
def test_what_cannot_work_is_said_in_a_line(recipe, invkit, change, facts):
    given = [part for part in OWN[:3] if part.partition("=")[0].partition(".")[0] not in change or "degr" not in part]
    code, _, err = invkit("run", recipe, "--out", recipe.parent / "run", *given, change)
    lines = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 2 and len(lines) == 1 and err.rstrip().endswith(lines[0]) and not missing(lines[0], *facts), err
