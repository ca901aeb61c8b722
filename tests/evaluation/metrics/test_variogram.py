import numpy as np
import pytest
from support.messages import raises
from support.metrics import value
from support.posteriors import draws, spoiled

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics import Outcome
from invkit.evaluation.metrics.variogram import VariogramScore
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask


def small(samples: int) -> Outcome:
    keys = Keys.of(3, "variogram", range(2))
    mask = Mask(keys.uniform("mask", 1, 5, 6) < 0.6)
    truth = keys.normal("truth", 2, 5, 6).double()
    drawn = keys.normal("samples", samples, 2, 5, 6).double().transpose(0, 1)
    return Outcome(truth, Measurement(mask, mask.forward(truth)), "sample", drawn[0], drawn)


def naive(o: Outcome) -> float:
    """By loops over all pairs, with the score of an infinite number of samples estimated from all pairs of samples."""
    pasted = (o.measurement.paste(o.samples).numpy() + 1) / 2
    truth, hidden = (o.truth.numpy() + 1) / 2, o.weight.numpy() > 0
    by_lag = []
    for lag in (1, 2, 4):
        scores = []
        for b, c, i, j in np.ndindex(*truth.shape):
            for k, l in ((i + lag, j), (i, j + lag)):
                if k < truth.shape[2] and l < truth.shape[3] and (hidden[b, c, i, j] or hidden[b, c, k, l]):
                    d = np.sqrt(np.abs(pasted[:, b, c, i, j] - pasted[:, b, c, k, l]))
                    error = d - np.sqrt(np.abs(truth[b, c, i, j] - truth[b, c, k, l]))
                    products = np.outer(error, error)
                    scores.append((products.sum() - np.trace(products)) / (len(d) * (len(d) - 1)))
        by_lag.append(np.mean(scores))
    return float(np.mean(by_lag))


@pytest.mark.parametrize("samples", [2, 7])
def test_it_is_the_unbiased_score_over_all_pairs_at_each_distance(samples):
    o = small(samples)
    assert value(VariogramScore(), o) == pytest.approx(naive(o), rel=1e-9)


def test_a_mean_is_scored_as_a_forecast_without_spread():
    o = small(2)
    mean = Outcome(o.truth, o.measurement, "mean", o.samples[0])
    twice = Outcome(o.truth, o.measurement, "sample", o.samples[0], o.samples[:1].expand(2, -1, -1, -1, -1))
    assert value(VariogramScore(), mean) == pytest.approx(value(VariogramScore(), twice), rel=1e-12)
    with raises(Unavailable, 2):
        VariogramScore().components(Outcome(o.truth, o.measurement, "sample", o.samples[0], o.samples[:1]))


def test_it_does_not_depend_on_the_number_of_samples():
    few, many = (value(VariogramScore(), draws(2, images=150, samples=count).outcome) for count in (3, 30))
    assert few == pytest.approx(many, rel=0.05)


def test_it_is_proper_for_dependence():
    """Which the score of single pixels does not see."""
    exact = draws(0, images=100)
    best = value(VariogramScore(), exact.outcome)
    for name in ("pixels permuted", "one number"):
        assert value(VariogramScore(), spoiled(exact, name)) > 1.2 * best


def test_a_row_of_pixels_has_no_pairs():
    o = small(2)
    line = Mask(o.measurement.observed[..., :1, :])
    with raises(Unavailable, "one pixel"):
        truth = o.truth[..., :1, :]
        VariogramScore().components(Outcome(truth, Measurement(line, line.forward(truth)), "mean", truth))
