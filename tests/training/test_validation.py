"""Evaluations on the way, on held-out pictures: what is kept, logged and chosen."""

import json

from support.messages import raises
from support.runs import go

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields
from invkit.experiment.run import load
from invkit.training.checkpoint import best_checkpoint, latest_checkpoint
from invkit.training.settings import Train
from invkit.training.validation import crps, held_out

CHANGES = ("train.evaluate_every=2", "train.evaluate_images=3", "train.keep=1", "train.lr=0.3", "train.warmup=0")


def test_the_best_is_kept_and_evaluated_where_asked(recipe, monkeypatch):
    scores = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr("invkit.experiment.train.crps", lambda table: next(scores))
    folder = go(recipe, *CHANGES, "eval.checkpoint=best")
    best, last = best_checkpoint(folder / "checkpoints"), latest_checkpoint(folder / "checkpoints")
    assert (best.step, last.step) == (4, 6)
    assert sorted(p.name for p in (folder / "checkpoints").glob("step-*")) == ["step-00000004", "step-00000006"]
    assert load(folder).step == 4
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [r for r in logged if "validation" in r]
    assert [r["step"] for r in found] == [2, 4, 6] and all(r["validation"]["sample/crps"] > 0 for r in found)
    again = go(recipe, *CHANGES, "eval.checkpoint=last")
    assert load(again).step == 6


def test_what_is_held_out_is_not_trained_on():
    grid = Grid(8, 8)
    images = {grid: Fields(train_size=20).open("train", grid, 0)}
    train, aside = held_out(images, Train(evaluate_every=5, evaluate_images=6))
    assert (len(train[grid]), len(aside[grid])) == (14, 6)
    assert (aside[grid][[0]] == images[grid][[14]]).all()
    assert held_out(images, Train()) == (images, {})
    with raises(DataError, "train.evaluate_images", 20):
        held_out(images, Train(evaluate_every=5, evaluate_images=20))


def test_the_score_is_over_all_grids():
    rows = [
        {"readout": r, "metrics": {"crps": {"value": v}}} for r, v in (("mean", 9.0), ("sample", 1.0), ("sample", 3.0))
    ]
    assert crps({"rows": rows}) == 2
    assert crps({"rows": [{"readout": "sample", "metrics": {"crps": {"value": None}}}]}) is None
    assert crps({"rows": []}) is None
