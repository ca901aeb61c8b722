"""The weights of components in samples: exact draws by chance, wrong ones by what they are wrong."""

import math

import pytest
import torch
from support.messages import raises

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields, MixtureFields
from invkit.evaluation.metrics import Outcome
from invkit.evaluation.metrics.components import ComponentWeights
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask

LAW, GRID, COUNT = MixtureFields(colors=1).law(), Grid(12, 12, 1), 24


def outcome(samples=None, law=LAW, count=199):
    keys = Keys.of(0, "components", range(COUNT))
    x = LAW.sample(keys, GRID)
    mask = Mask((keys.permutation("p", GRID.pixels) < 14).view(-1, 1, *GRID.shape), 1)
    m = measure(mask, x, Noise(sigma=0.5), keys)
    draws = MixturePosterior(LAW, m).sample(Keys.of(1, "s", range(COUNT)), count) if samples is None else samples
    return Outcome(x, m, "sample", draws[0], draws, law=law)


def value(o):
    parts = ComponentWeights().components(o)
    return float(ComponentWeights().reduce({key: part.numpy().mean() for key, part in parts.items()}))


def test_exact_samples_are_off_by_chance_only():
    o = outcome()
    weights = MixturePosterior(LAW, o.measurement).weights
    by_chance = float((weights * (1 - weights) / (2 * math.pi * len(o.samples))).sqrt().sum(1).mean())
    assert value(o) == pytest.approx(by_chance, rel=0.2)


def test_wrong_weights_are_the_value():
    """Samples of one component alone, and of the prior, whose weights are known."""
    o = outcome()
    weights = MixturePosterior(LAW, o.measurement).weights
    only = LAW.components[2].sample(Keys.of(2, "one", range(3 * COUNT)), GRID, "x").view(3, COUNT, *GRID.picture)
    assert value(outcome(only)) == pytest.approx(float((1 - weights[:, 2]).mean()), abs=0.01)
    prior = LAW.sample(Keys.of(2, "many", range(150 * COUNT)), GRID).view(150, COUNT, *GRID.picture)
    exact = 0.5 * (LAW.weights - weights).abs().sum(1).mean()
    assert value(outcome(prior)) == pytest.approx(float(exact), abs=0.04)


def test_it_is_null_with_the_reason_elsewhere():
    o = outcome(torch.zeros(2, COUNT, *GRID.picture))
    with raises(Unavailable, "needs samples"):
        ComponentWeights().components(Outcome(o.truth, o.measurement, "mean", o.truth, law=LAW))
    for law in (None, Fields().law()):
        with raises(Unavailable, "mixture-fields"):
            ComponentWeights().components(outcome(o.samples, law))
