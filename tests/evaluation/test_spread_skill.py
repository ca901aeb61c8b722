import math

import pytest
import torch
from support.evaluations import Exact, table_of

from invkit.core.keys import Keys
from invkit.evaluation import spread_skill as deviations
from invkit.evaluation.metrics import Outcome
from invkit.evaluation.spread_skill import BINS, LOSSES, SCORE, SPREAD, binned_errors, diagnostics
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

COUNT = 8  # samples: few, so that their deviation is badly known


def outcome(shrink: float = 1.0, count: int = COUNT) -> Outcome:
    """Truths and samples of one law at every pixel, whose deviation differs between pixels by a factor of 30."""
    keys = Keys.of(2, "deviations", range(8))
    scale = 10 ** (1.5 * keys.uniform("scale", 3, 32, 32) - 2)
    truth = scale * keys.normal("truth", 3, 32, 32)
    samples = shrink * scale * keys.normal("samples", count, 3, 32, 32).transpose(0, 1)
    mask = Mask(keys.uniform("mask", 1, 32, 32) < 0.5)
    return Outcome(truth, Measurement(mask, mask.forward(truth)), "sample", samples[0], samples)


def ratios(made: Outcome) -> list[float]:
    """Error over predicted deviation in every bin with pixels enough to tell."""
    points = binned_errors({name: values.numpy() for name, values in diagnostics(made)[SPREAD].items()})
    assert sum(point["count"] for point in points) == int(made.weight.sum())
    return [point["error"] / point["predicted"] for point in points if point["count"] > 300]


def test_a_true_posterior_is_on_the_line_in_every_bin_with_few_samples():
    found = ratios(outcome())
    assert len(found) >= 8 and found == pytest.approx([1] * len(found), rel=0.12)


def test_samples_that_place_and_judge_at_once_would_not_be(monkeypatch):
    whole = deviations._binned
    monkeypatch.setattr(deviations, "_binned", lambda made, placing, judged: whole(made, judged, judged))
    found = ratios(outcome())
    assert found[0] > 1.3


def test_deviations_that_are_half_of_what_they_should_be_are_seen():
    found = ratios(outcome(shrink=0.5))
    assert found[2:-2] == pytest.approx([math.sqrt((1 + 0.25 / 4) / (0.25 * 1.25))] * len(found[2:-2]), rel=0.12)


@pytest.mark.parametrize("count", [2, 3])
def test_few_samples_have_a_score_and_no_bins(count):
    assert diagnostics(outcome(count=count)).keys() == {SCORE, LOSSES}
    assert binned_errors({}) == []


def test_rows_that_do_not_sample_have_neither():
    made = outcome()
    assert diagnostics(Outcome(made.truth, made.measurement, "mean", made.truth)) == {}
    assert diagnostics(Outcome(made.truth, made.measurement, "sample", made.truth, made.samples[:1])) == {}


def test_samples_that_do_not_differ_are_in_the_first_bin():
    made = outcome()
    flat = Outcome(made.truth, made.measurement, "sample", made.truth, torch.zeros_like(made.samples))
    counts = diagnostics(flat)[SPREAD]["count"]
    assert counts.shape == (8, BINS) and torch.equal(counts[:, 0], made.weight.sum((1, 2, 3)).double())


def test_the_table_has_them_for_rows_that_sample():
    result = table_of(Exact(), Exact("model", shrink=0.5), images=24, samples=6)
    hidden = 3 * 16 * 16 * sum(1 - line["observed_share"] for line in result.per_image if line["readout"] == "mean") / 2
    for entry in result.table["calibration"]:
        assert sum(point["count"] for point in entry["deviations"]) == pytest.approx(hidden, rel=1e-4)
