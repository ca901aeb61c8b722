"""Numbers that are not finite, put in at many points: none reaches a weight, an average or a moment."""

import math
from ast import literal_eval
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch
from invkit_sparse import RandomPixels
from support.messages import raises
from support.trainers import trainer, weights

from invkit.core.errors import NonFiniteError
from invkit.data.base import Images
from invkit.training import trainer as training
from invkit.training.problem import image_ids
from invkit.training.trainer import Trainer

STEPS = 8


@dataclass(frozen=True, eq=False)
class Spoilt(Images):
    """Pictures of which one is bad."""

    images: Images
    bad: int
    value: float

    def __post_init__(self):
        object.__setattr__(self, "grid", self.images.grid)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, ids):
        x = self.images[ids].clone()
        x[[i == self.bad for i in ids], 0, 3, 3] = self.value
        return x

    def group(self, image_id):
        return self.images.group(image_id)


def with_a_bad_picture(step: int, value: float, settings: dict) -> Trainer:
    """A training whose given step, and no earlier one, meets a bad picture."""
    t = trainer({"steps": STEPS, **settings})
    ((grid, images),) = t.problem.images.items()
    seen = image_ids(0, torch.arange(8 * STEPS), len(images))
    bad = next(i for i in seen[8 * (step - 1) : 8 * step] if i not in seen[: 8 * (step - 1)])
    t.problem.images[grid] = Spoilt(images, bad, value)  # after the model was measured on sound ones
    return t


def with_a_bad_gradient(step: int, name: str, value: float, settings: dict) -> Trainer:
    t = trainer({"steps": STEPS, **settings})
    parameter = dict(t.model.named_parameters())[name]
    parameter.register_hook(lambda g: torch.full_like(g, value) if t.step == step - 1 else g)
    return t


def finish(t: Trainer) -> None:
    list(t.run())
    t.check()


POINTS = [
    *((with_a_bad_picture, step, value, settings) for step in (1, 3, 5) for value in (math.nan, math.inf)
      for settings in ({}, {"accumulate": 4}, {"on_nonfinite": "skip"})),
    *((with_a_bad_gradient, step, name, math.nan, {}) for step in (2, 7) for name in ("network.entry.weight", "token")),
    *((with_a_bad_gradient, 4, name, -math.inf, {"muon_lr": None}) for name in ("network.exit.bias", "token")),
    (with_a_bad_gradient, 4, "network.entry.weight", math.nan, {"on_nonfinite": "skip"}),
]  # fmt: skip


@cache
def sound(settings: str) -> list[list[torch.Tensor]]:
    """Weights after every step of a training that meets nothing bad, from before the first one on."""
    t = trainer({"steps": STEPS, **literal_eval(settings)})
    return [weights(t), *(weights(t) for _ in t.run())]


TALLY = {"tried": 0, "failed": 0}


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join([point[0].__name__, *map(str, point[1:])]))
def test_nothing_bad_reaches_the_state(point, every, figure):
    """Whether the host asks at every step, or only at times, as it does with a device that runs ahead."""
    TALLY["tried"] += 1
    TALLY["failed"] += 1
    try:
        nothing_bad_reaches_the_state(*point, every=every)
        TALLY["failed"] -= 1
    finally:
        figure(
            "values not finite put into a training: one that reaches a weight, an average or a moment", *TALLY.values()
        )


def nothing_bad_reaches_the_state(make, step, *rest, every):
    t = make(step, *rest)
    t.check_every = every
    if rest[-1].get("on_nonfinite") == "skip":
        finish(t)
        assert t.skipped >= 1 and t.step == STEPS
        assert all(bool(w.isfinite().all()) for w in weights(t))
        return
    with raises(NonFiniteError, f"step {step}", f"step {step - 1}") as caught:
        finish(t)
    assert t.step == step - 1
    assert all(bool(w.isfinite().all()) for w in weights(t))
    assert all(map(torch.equal, sound(repr(rest[-1]))[step - 1], weights(t)))
    cause = caught.value.cause
    assert cause is not None and cause["step"] == step and len(cause["pictures"]) == len(cause["losses"]) == 8
    if make is with_a_bad_picture:
        bad = next(iter(t.problem.images.values())).bad
        assert not math.isfinite(cause["losses"][cause["pictures"].index(bad)])
    else:
        assert rest[0] in cause["not finite"]


def test_a_step_left_out_changes_nothing():
    t = with_a_bad_picture(4, math.nan, {"on_nonfinite": "skip"})
    states = [weights(t)]
    for _ in t.run():
        states.append(weights(t))
    same = [all(map(torch.equal, x, y)) for x, y in pairwise(states[1:])]
    assert same[2] and not any(same[:2])


def test_patience_has_an_end():
    t = trainer({"steps": 50, "on_nonfinite": "skip"})
    t.model.token.register_hook(lambda g: g * math.nan)
    with raises(NonFiniteError, "step 10"):
        list(t.run())
    assert t.skipped == training.PATIENCE - 1


def test_a_state_is_not_given_before_it_was_asked_about():
    t = with_a_bad_picture(1, math.nan, {})
    t.check_every = 100
    next(t.run())
    with pytest.raises(NonFiniteError):
        t.state()


@pytest.mark.parametrize("mutant", ["guard", "average"])
def test_without_the_guard_it_would(mutant, monkeypatch):
    if mutant == "guard":
        monkeypatch.setattr(training, "guard", lambda optimisers, sound: None)
    else:
        monkeypatch.setattr(training, "average_decay", lambda *_: math.nan)
    t = with_a_bad_picture(3, math.nan, {})
    with pytest.raises(NonFiniteError):
        list(t.run())
    assert not all(bool(w.isfinite().all()) for group in t._all().values() for w in group.values())


@pytest.mark.parametrize("fraction", [1.0, 1e-9])
def test_nothing_hidden_and_nothing_observed_are_trained_on(fraction):
    t = trainer({"steps": 3}, RandomPixels(fraction=fraction))
    assert all(math.isfinite(float(record.loss)) for record in t.run())
