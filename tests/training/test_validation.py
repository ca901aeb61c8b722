"""Evaluations on the way, on held-out pictures: what is kept, logged and chosen."""

import json

from support.evaluations import Draws
from support.messages import missing, raises
from support.runs import Heard, go

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.base import Chosen
from invkit.data.gaussian_fields import Fields
from invkit.data.photos import Photos
from invkit.experiment.run import load
from invkit.training.checkpoint import best_checkpoint, latest_checkpoint
from invkit.training.settings import Train
from invkit.training.validation import HeldOut, crps, held_out

CHANGES = ("train.evaluate_every=2", "train.evaluate_images=3", "train.keep=1", "train.lr=0.3", "train.warmup=0")


def test_the_best_is_kept_and_evaluated_where_asked(recipe, monkeypatch):
    scores = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr("invkit.experiment.train.crps", lambda table: next(scores))
    folder = go(recipe, *CHANGES, "eval.checkpoint=best", listener=(heard := Heard()))
    (line,) = [line for line in heard.said if "held out" in line]
    assert not missing(line, 3, 4, 35)
    best, last = best_checkpoint(folder / "checkpoints"), latest_checkpoint(folder / "checkpoints")
    assert (best.step, last.step) == (4, 6)
    assert sorted(p.name for p in (folder / "checkpoints").glob("step-*")) == ["step-00000004", "step-00000006"]
    assert load(folder).step == 4
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [r for r in logged if "validation" in r]
    assert [r["step"] for r in found] == [2, 4, 6] and all(r["validation"]["sample/crps"] > 0 for r in found)
    again = go(recipe, *CHANGES, "eval.checkpoint=last")
    assert load(again).step == 6


GRIDS = (Grid(8, 8), Grid(12, 12))


def groups(images):
    return {images.group(i) for i in range(len(images))}


def last(images, settings, seed):
    """The mutant: the last images of the split, whatever photographs they are of."""
    count = settings.evaluate_images
    train = {grid: Chosen(x, range(len(x) - count)) for grid, x in images.items()}
    return HeldOut(train, {grid: Chosen(x, range(len(x) - count, len(x))) for grid, x in images.items()})


def shared(hold_out, seed=0):
    """The photographs that are both trained on and held out, on any of two grids; and the number of those held out."""
    images = {grid: Photos().open("train", grid, seed) for grid in GRIDS}
    found = hold_out(images, Train(evaluate_every=5, evaluate_images=40), seed)
    train, aside = ({group for x in part.values() for group in groups(x)} for part in (found.train, found.held_out))
    assert groups(images[GRIDS[0]]) >= train | aside
    return train & aside, aside


def test_no_photograph_is_held_out_and_trained_on():
    (both, first), (_, second) = shared(held_out), shared(held_out, seed=1)
    assert both == set() and len(first) == 4 and first != second
    assert len(shared(last)[0]) > 15


def test_what_is_held_out_is_not_trained_on():
    grid = Grid(8, 8)
    images = {grid: Fields(train_size=20).open("train", grid, 0)}
    found = held_out(images, Train(evaluate_every=5, evaluate_images=6), 0)
    assert (len(found.train[grid]), len(found.held_out[grid])) == (14, 6)
    assert groups(found.train[grid]) | groups(found.held_out[grid]) == groups(images[grid])
    assert not missing(found.note, 6, "20 groups")
    own = int(found.held_out[grid].group(2).split()[1])
    assert (found.held_out[grid][[2]] == images[grid][[own]]).all()
    assert held_out(images, Train(), 0) == HeldOut(images, {})


def test_too_few_groups_are_refused():
    grid = Grid(8, 8)
    images = {grid: Fields(train_size=20).open("train", grid, 0)}
    for count in (11, 20, 64):
        with raises(DataError, "train.evaluate_images", count, "20 groups", "train.evaluate_every"):
            held_out(images, Train(evaluate_every=5, evaluate_images=count), 0)
    with raises(DataError, "1 groups"):
        held_out({grid: Draws(20, share=20, grid=grid)}, Train(evaluate_every=5, evaluate_images=2), 0)


def test_the_score_is_over_all_grids():
    rows = [
        {"readout": r, "metrics": {"crps": {"value": v}}} for r, v in (("mean", 9.0), ("sample", 1.0), ("sample", 3.0))
    ]
    assert crps({"rows": rows}) == 2
    assert crps({"rows": [{"readout": "sample", "metrics": {"crps": {"value": None}}}]}) is None
    assert crps({"rows": []}) is None
