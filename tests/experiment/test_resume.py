"""A run folder that is resumed with other settings: what changes no result may change, and advice works as it is written."""

import re

import pytest
import torch
from support.messages import raises
from support.runs import Heard, go, killed, weights

from invkit.core.errors import RecipeError
from invkit.evaluation.loop import EvaluationLoop
from invkit.training.trainer import Trainer

ROUNDING = """train.accumulate=2 model.recompute=true train.determinism=fast train.workers=1 train.compile=false train.keep=1
    train.on_nonfinite=skip train.evaluate_images=9 log.every=1"""
EXACT = ("model.dropout=0", "eval.methods=[model]")  # dropout is drawn part by part


@pytest.mark.parametrize(("change", "tolerance"), [(ROUNDING, 1e-3), ("train.precision=bf16", 0.1)])
def test_what_changes_no_weight_may_change(recipe, change, tolerance):
    with pytest.raises(KeyError, match="killed"):
        go(recipe, *EXACT, listener=Heard(5, killed))
    half = weights(recipe.parent / "run")
    resumed = weights(go(recipe, *EXACT, *change.split(), listener=(heard := Heard())))
    assert heard.steps == [5, 6]
    whole = weights(go(recipe, *EXACT, fresh=True))
    for key, value in whole.items():
        if key.startswith("weights/"):
            moved = float((value - half[key]).norm())
            assert float((resumed[key] - value).norm()) <= tolerance * max(moved, 1e-6), key


def test_what_changes_weights_is_refused_once_there_are_some(recipe):
    few = (*EXACT, "eval.images=2")
    with pytest.raises(KeyError, match="killed"):
        go(recipe, *few, listener=Heard(1, killed))
    go(
        recipe, *few, "train.batch=2", "train.evaluate_every=3", "train.evaluate_images=2"
    )  # no checkpoint was saved yet
    held_out = (*few, "train.batch=2", "train.evaluate_images=2")
    go(recipe, *held_out, "train.evaluate_every=2")
    for change, said in (
        (("train.batch=4", "train.evaluate_every=2"), "train.batch=2"),
        (("train.evaluate_every=2", "train.evaluate_images=3"), "train.evaluate_images=2"),
        (("train.evaluate_every=null",), "train.evaluate_images=2"),
    ):
        with raises(RecipeError, said, "--fresh"):
            go(recipe, *held_out, *change)


def out_of_memory(monkeypatch, cls, name, room):
    """`cls.name` runs out of memory unless `room(self)`."""
    whole = getattr(cls, name)

    def limited(self, *arguments):
        if not room(self):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return whole(self, *arguments)

    monkeypatch.setattr(cls, name, limited)


def test_the_advice_on_memory_works_as_it_is_written(invkit, recipe, monkeypatch):
    out_of_memory(monkeypatch, Trainer, "_backward", lambda t: t.step < 3 or t.settings.accumulate == 4)
    out_of_memory(monkeypatch, EvaluationLoop, "batch", lambda loop: loop.protocol.settings.batch == 1)
    command = ["run", recipe, "--out", recipe.parent / "run", "--device", "cpu"]
    code, _, err = invkit(*command)
    assert code == 6
    advice = re.search(
        r"same command again with (\S+)=N \(a divisor of (\S+)\) or (\S+) for the training, (\S+) for", err
    )
    accumulate, divided, recompute, batch = advice.groups()
    assert divided == "train.batch" and f"{divided.split('.')[1]}: 4" in recipe.read_text()
    assert invkit(*command, recompute)[0] == 6  # accepted, but not enough here
    command.append(f"{accumulate}=4")
    code, _, err = invkit(*command)
    assert code == 6 and "training is done" not in err and "step 6/6" in err
    assert invkit(*command, batch)[0] == 0


def test_fewer_steps_than_were_trained_are_refused(recipe, run_copy):
    before = (run_copy / "resolved.yaml").read_text()
    with raises(RecipeError, run_copy, "6 steps", "train.steps=4", "--out DIR", "--fresh"):
        go(recipe, "train.steps=4")
    assert (run_copy / "resolved.yaml").read_text() == before


def test_a_training_does_not_depend_on_the_default_type_of_torch(recipe, trained_run):
    torch.set_default_dtype(torch.float64)
    try:
        found = weights(go(recipe))
    finally:
        torch.set_default_dtype(torch.float32)
    expected = weights(trained_run)
    assert {key: value.dtype for key, value in found.items()} == {key: value.dtype for key, value in expected.items()}
