import time
import warnings

import pytest
import torch
from support.messages import raises, warns
from support.trainers import CPU, NETWORK, SETTINGS, trainer, weights

from invkit.core.errors import RecipeError
from invkit.diffusion import Diffusion
from invkit.diffusion.networks import NETWORKS
from invkit.training.initialise import build_model
from invkit.training.settings import Train
from invkit.training.trainer import Trainer


@pytest.mark.parametrize("part", ["weights", "average", "optimiser"])
def test_a_state_that_is_not_restored_is_noticed(part):
    whole = trainer()
    list(whole.run())
    first = trainer()
    run = first.run()
    for _ in range(4):
        next(run)
    saved = {name: {k: v.clone() for k, v in group.items()} for name, group in first.state().items()}
    saved[part] = {k: torch.zeros_like(v) for k, v in saved[part].items()}
    second = trainer()
    second.restore(4, saved)
    list(second.run())
    assert not all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))


@pytest.mark.parametrize("settings", [{}, {"workers": 1, "accumulate": 2}])
def test_training_touches_no_global_generator(settings):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(trainer({"steps": 2, **settings}).run())
    assert torch.equal(before, torch.get_rng_state())


def test_accumulation_is_the_large_batch():
    plain = NETWORKS["fno-unet"](channels=16, mult=(1, 2), blocks=1, embedding=8, modes=3)
    results = []
    for parts in (1, 4):
        t = trainer({"accumulate": parts, "steps": 1})
        model = build_model(t.problem, plain, Diffusion(), "float32", CPU)
        t = Trainer(t.problem, model, t.settings, CPU)
        results.append(next(t.run()))
    assert float(results[0].loss) == pytest.approx(float(results[1].loss), rel=1e-5)
    assert float(results[0].grad_norm) == pytest.approx(float(results[1].grad_norm), rel=1e-4)
    with raises(RecipeError, "train.accumulate", 3, "train.batch", 8):
        trainer({"accumulate": 3})


def test_pictures_read_ahead_are_those_of_their_steps():
    """On two grids and in parts, resumed as well: where the plan was wrong, a new one would be made, and it is not."""
    settings = {"steps": 6, "accumulate": 2}
    whole, ahead = trainer(settings, grids=(16, 24)), trainer({**settings, "workers": 2}, grids=(16, 24))
    expected = [r.loss for r in whole.run()]
    begun, start = [], ahead.feed._start
    ahead.feed._start = lambda: begun.append(ahead.step) or start()
    run = ahead.run()
    losses = [next(run).loss for _ in range(3)]
    saved = {n: {k: v.clone() for k, v in group.items()} for n, group in ahead.state().items()}
    next(run)
    ahead.restore(3, saved)
    losses += [r.loss for r in run]
    assert losses == expected and begun == [0, 3]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(ahead), strict=True))


def test_time_in_which_a_cpu_does_other_work_is_not_part_of_a_budget():
    t = trainer({"steps": 2, "warmup": 0})
    gradients = t._gradients
    t._gradients = lambda: (time.sleep(1.5), gradients())[1]
    assert sum(record.seconds for record in t.run()) < 3 and 0 < t.seconds < 3


def test_a_budget_is_kept_and_gone_on_with():
    t = trainer({"steps": None, "budget": "1s", "warmup": 0, "decay": 0.5})
    records = list(t.run())
    assert 1 <= t.seconds < 3 and t.done and records[-1].total >= t.step - 1
    assert records[-1].lr < records[0].lr or len(records) < 3
    t.restore(t.step, t.state(), seconds=0.9)
    assert t.share(0) == pytest.approx(0.9) and len(list(t.run())) >= 1 and t.seconds >= 1
    assert Train(budget="1.5h").seconds == 5400 and Train(budget="2d").total is None and Train().total == 2000
    for wrong in ({"budget": "10m", "steps": 5}, {"budget": "ten"}):
        with raises(ValueError, "budget"):
            Train(**wrong)


def test_features_computed_again_are_the_same():
    """With dropout, whose seeds the backward pass meets again."""
    results = []
    for recompute in (False, True):
        t = trainer({"steps": 2})
        network = NETWORK.model_copy(update={"recompute": recompute})
        t = Trainer(t.problem, build_model(t.problem, network, Diffusion(), "float32", CPU), t.settings, CPU)
        results.append([float(r.loss) for r in t.run()] + weights(t))
    assert all(a == b if isinstance(a, float) else torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("calls", [0, 3], ids=["at once", "in the second step"])
def test_a_network_that_does_not_compile_is_run_as_it_is(monkeypatch, calls):
    settings = {"steps": 3, "accumulate": 2}
    plain = trainer(settings)
    losses = [float(r.loss) for r in plain.run()]
    left = iter(range(calls))

    def compiled(self, **_):
        def call(*args, **kwargs):
            if next(left, None) is None:
                raise RuntimeError("no compiler\nand more")
            return self._call_impl(*args, **kwargs)

        self._compiled_call_impl = call

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    t = trainer({**settings, "compile": True})
    with warns("train.compile", "RuntimeError: no compiler") as caught:
        assert [float(r.loss) for r in t.run()] == losses
    assert len(caught) == 1 and "more" not in str(caught[0].message)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(t), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_compiled_network_learns_the_same(dropout, monkeypatch):
    monkeypatch.setattr(f"{__name__}.NETWORK", NETWORK.model_copy(update={"dropout": dropout}))
    plain, compiled = trainer({"steps": 3}), trainer({"steps": 3, "compile": True})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "train.compile")  # it would be the same network
        losses = [[float(r.loss) for r in t.run()] for t in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert [n for n, _ in plain.model.named_parameters()] == [n for n, _ in compiled.model.named_parameters()]


def test_rates_rise_stay_and_fall():
    t = trainer({"steps": 100, "warmup": 9, "decay": 0.5})
    rates = [t.rate(s) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[49] == 1 and rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-3},
        {"muon_lr": None},
        {"weight_decay": 0.5},
        {"ema": 0.1},
        {"ema_length": 0.2},
        {"clip": 1e-3},
        {"mean_share": 1.0},
        {"flip": True},
        {"warmup": 0},
        {"decay": 0.9},
    ],
)
def test_every_setting_reaches_the_weights(change):
    results = []
    for settings in ({}, change):
        t = trainer({**SETTINGS, "steps": 4, **settings})
        list(t.run())
        results.append(weights(t))
    assert len(results[0]) != len(results[1]) or not all(torch.equal(a, b) for a, b in zip(*results, strict=True))
