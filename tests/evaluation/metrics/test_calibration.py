import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from support.messages import raises
from support.metrics import value
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.calibration import (
    Coverage,
    Coverage50,
    Coverage80,
    Coverage90,
    Coverage95,
    Crps,
    IntervalWidth90,
    SampleMseRatio,
    SamplerLawSlope,
    SpreadSkill,
    fair_crps,
)
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.posterior import central_rank

SIDE, COUNT, DEVIATION = 24, 8, 0.3
COVERAGE = {50: Coverage50, 80: Coverage80, 90: Coverage90, 95: Coverage95}


def drawn(samples: int, shrink: float = 1.0, read_mean: bool = True) -> Outcome:
    """Truth and samples from one Gaussian law around a known mean: an exact posterior, unless it is shrunk."""
    keys = Keys.of(1, "test", range(COUNT))
    mean = keys.uniform("mean", 3, SIDE, SIDE) * 2 - 1
    mask = Mask(keys.uniform("mask", 1, SIDE, SIDE) < 0.3)
    truth = mean + DEVIATION * keys.normal("truth", 3, SIDE, SIDE)
    noise = keys.fork(samples).normal("samples", 3, SIDE, SIDE).unflatten(0, (samples, COUNT))
    posterior = mean + shrink * DEVIATION * noise
    measurement = Measurement(mask, mask.forward(truth))
    return Outcome(truth, measurement, "sample", posterior[0], posterior, mean if read_mean else None)


def naive_crps(samples: Tensor, truth: Tensor) -> Tensor:
    count = len(samples)
    pairs = sum((a - b).abs() for a in samples for b in samples)
    return (samples - truth).abs().mean(0) - pairs / (2 * count * (count - 1))


@pytest.mark.parametrize("count", [2, 3, 19])
def test_fair_crps_is_the_sum_over_all_pairs(count):
    keys = Keys.of(0, "crps", range(count))
    samples, truth = keys.normal("x", 50).double(), Keys.of(0, "t", [0]).normal("t", 50)[0].double()
    torch.testing.assert_close(fair_crps(samples.sort(0).values, truth), naive_crps(samples, truth))


@pytest.mark.parametrize("count", [2, 19])
def test_crps_of_exact_samples_is_the_closed_form_whatever_k(count):
    o = drawn(count)
    z = ((o.truth - o.mean) / DEVIATION).double().numpy()
    closed = DEVIATION * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))  # Gneiting et al. 2005
    hidden = ~o.measurement.observed.expand_as(o.truth).numpy()
    assert value(Crps(), o) == pytest.approx(closed[hidden].mean() / 2, rel=0.02)


def test_crps_of_a_mean_is_its_absolute_error_over_hidden_pixels():
    o = drawn(2)
    mean = Outcome(o.truth, o.measurement, "mean", o.mean)
    hidden = ~o.measurement.observed.expand_as(o.truth)
    assert value(Crps(), mean) == pytest.approx(float((o.mean - o.truth).abs()[hidden].double().mean() / 2), rel=1e-6)


def test_ranks_are_whole_or_absent():
    assert [central_rank(p, 19) for p in (50, 80, 90, 95)] == [5, 2, 1, None]
    assert [central_rank(p, 39) for p in (50, 80, 90, 95)] == [10, 4, 2, 1]
    assert central_rank(90, 20) is None


@pytest.mark.parametrize(("percent", "count"), [(50, 19), (80, 19), (90, 19), (95, 39)])
def test_exact_samples_are_covered_as_often_as_they_should(percent, count):
    """And the interval by interpolated quantiles, which is too short, is told apart."""
    o = drawn(count)
    pixels = float(o.weight.sum())
    error = 4 * math.sqrt(percent / 100 * (1 - percent / 100) / pixels)
    assert value(COVERAGE[percent](), o) == pytest.approx(percent / 100, abs=error)
    low, high = o.samples.quantile(torch.tensor([0.5 - percent / 200, 0.5 + percent / 200]), 0)
    mutant = float(((low <= o.truth) & (o.truth <= high)).double().mul(o.weight).sum() / pixels)
    assert mutant < percent / 100 - error


def test_a_coverage_of_no_percentage_is_told_with_the_possible_ones():
    class Share(Coverage):
        percent = 0.9

    with raises(ValueError, 0.9, 19, "10, 20, 30, 40, 50, 60, 70, 80, 90"):
        Share().components(drawn(19))


def test_a_truth_on_the_bound_is_inside():
    o = drawn(19)
    edge = Outcome(o.samples.min(0).values, o.measurement, "sample", o.estimate, o.samples)
    assert value(Coverage90(), edge) == 1.0


def test_what_cannot_be_said_is_said_so():
    with raises(Unavailable, 19, 95, 39):
        Coverage95().components(drawn(19))
    one = drawn(1)
    mean = Outcome(one.truth, one.measurement, "mean", one.mean)
    for metric in (Crps(), SpreadSkill(), SampleMseRatio(), SamplerLawSlope()):
        with raises(Unavailable, 2):
            metric.components(one)
    for metric in (Coverage90(), IntervalWidth90(), SpreadSkill(), SampleMseRatio(), SamplerLawSlope()):
        with raises(Unavailable):
            metric.components(mean)
    with raises(Unavailable, 20, 90, 19):
        IntervalWidth90().components(drawn(20))


@pytest.mark.parametrize("count", [2, 19])
def test_a_true_posterior_spreads_as_it_errs(count):
    assert value(SpreadSkill(), drawn(count)) == pytest.approx(1, abs=0.03)
    assert value(SpreadSkill(), drawn(count, shrink=0.8)) < 0.93


@pytest.mark.parametrize("read_mean", [True, False])
@pytest.mark.parametrize("count", [2, 19])
def test_a_true_sample_has_twice_the_error_of_the_mean(count, read_mean):
    assert value(SampleMseRatio(), drawn(count, read_mean=read_mean)) == pytest.approx(2, abs=0.06)
    assert value(SampleMseRatio(), drawn(count, shrink=0.8, read_mean=read_mean)) < 1.75


def test_sample_error_is_the_mean_over_all_samples():
    o = drawn(5)
    found = SampleMseRatio().components(o)["sum"]
    expected = ((o.samples - o.truth).double().square() * o.weight).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("count", [19, 39])
def test_the_width_of_an_interval_is_that_of_normal_order_statistics(count):
    rank = central_rank(90, count)
    ways = count * math.comb(count - 1, rank - 1)  # E of the order statistic x_(K+1-r)
    end = quad(lambda z: z * ways * norm.pdf(z) * norm.cdf(z) ** (count - rank) * norm.sf(z) ** (rank - 1), -8, 8)[0]
    for shrink in (1.0, 0.5):
        assert value(IntervalWidth90(), drawn(count, shrink)) == pytest.approx(shrink * DEVIATION * end, rel=0.01)


@pytest.mark.parametrize("count", [2, 19])
def test_the_error_of_a_mean_of_k_falls_as_it_should_for_a_true_posterior(count):
    assert value(SamplerLawSlope(), drawn(count)) == pytest.approx(1, abs=0.06)
    assert value(SamplerLawSlope(), drawn(count, shrink=0.8)) == pytest.approx(0.64, abs=0.05)


def test_the_slope_is_that_of_the_line_through_the_errors_of_all_means():
    """By least squares over every choice of k of 5 samples; the mean that the method reads out plays no part."""
    o = drawn(5, shrink=0.8)
    shares, errors = [], []
    for k in range(1, 6):
        means = torch.stack([o.samples[list(chosen)].double().mean(0) for chosen in combinations(range(5), k)])
        shares.append(1 / k)
        errors.append(float(((means - o.truth).square() * o.weight).sum((1, 2, 3, 4)).mean()))
    slope, intercept = np.polyfit(shares, errors, 1)
    np.testing.assert_allclose(np.polyval([slope, intercept], shares), errors, rtol=1e-9)  # it is a line
    found = value(SamplerLawSlope(), o)
    assert found == pytest.approx(slope / intercept, rel=1e-6)
    biased = Outcome(o.truth, o.measurement, "sample", o.estimate, o.samples, o.mean + 0.3)
    assert value(SamplerLawSlope(), biased) == found
    assert value(SampleMseRatio(), biased) < 0.8 * value(SampleMseRatio(), o)


def test_observed_pixels_do_not_count():
    o = drawn(19)
    observed = o.measurement.observed
    spoiled = torch.where(observed, 5.0, o.samples)
    other = Outcome(o.truth, o.measurement, "sample", spoiled[0], spoiled, o.mean)
    for metric in (Crps(), Coverage90(), IntervalWidth90(), SpreadSkill(), SampleMseRatio(), SamplerLawSlope()):
        assert value(metric, other) == pytest.approx(value(metric, o), rel=1e-9)
