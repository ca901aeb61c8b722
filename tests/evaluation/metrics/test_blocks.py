import math

import pytest
import torch
from support.messages import raises
from support.metrics import value
from support.posteriors import draws, spoiled

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics import METRICS, Outcome, by_name, column, named, parted
from invkit.evaluation.metrics.base import BlockMetric
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.testing import check_metric

BLOCKED = [name for name, cls in METRICS.items() if issubclass(cls, BlockMetric)]


def outcome(height: int = 5, width: int = 7, sigma: float = 0.0) -> Outcome:
    """A row of samples of one image whose upper left 2x2 pixels are observed, and one pixel of the block below."""
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., :2, :2] = mask[..., 2, 0] = True
    truth = torch.arange(float(height * width)).view(1, 1, height, width)
    operator = Mask(mask)
    samples = truth + torch.tensor([-1.0, 2.0, 5.0]).view(3, 1, 1, 1, 1)
    return Outcome(truth, Measurement(operator, operator.forward(truth), sigma), "sample", samples[0], samples)


def test_a_block_has_its_observed_pixels_exactly_and_the_others_of_each_sample():
    blocks = outcome().blocks(2)
    assert blocks.truth.shape == (1, 1, 2, 3)  # the fifth row and the seventh column fill no block
    assert blocks.truth[0, 0].tolist() == [[4, 6, 8], [18, 20, 22]]
    assert blocks.samples[:, 0, 0, 1, 0].tolist() == [18 - 0.75, 18 + 1.5, 18 + 3.75]  # three of four pixels are hidden
    assert blocks.samples[:, 0, 0, 0, 1].tolist() == [5, 8, 11]
    assert blocks.weight[0, 0].tolist() == [[0, 1, 1], [1, 1, 1]]  # wholly observed: not evaluated


def test_noisy_pixels_are_not_exact():
    assert outcome(sigma=0.1).blocks(2).samples[:, 0, 0, 1, 0].tolist() == [17, 20, 23]


def test_the_whole_image_is_one_block_of_any_shape():
    blocks = outcome().blocks("all")
    assert blocks.truth.flatten().tolist() == [17] and blocks.weight.flatten().tolist() == [1]
    assert outcome().blocks(1).truth.shape == (1, 1, 5, 7)


def test_blocks_that_do_not_fit_are_told():
    with raises(Unavailable, "6x6", "5x7"):
        named("crps@6").components(outcome())


@pytest.mark.parametrize("name", ["crps", "spread_skill", "coverage_90", "sample_mse_ratio"])
def test_metrics_of_blocks_are_those_of_an_image_of_block_means(name):
    made = draws(0, images=6, samples=19).outcome
    for size in (4, "all"):
        blocks = made.blocks(size)
        coarse = Mask(blocks.weight == 0)
        small = Outcome(
            blocks.truth, Measurement(coarse, coarse.forward(blocks.truth)), "sample",
            blocks.estimate, blocks.samples, blocks.mean,
        )  # fmt: skip
        assert value(named(f"{name}@{size}"), made) == pytest.approx(value(named(name), small), rel=1e-12)


def test_only_blocks_show_what_is_wrong_with_the_dependence():
    """Measured with 400 images; a pixel's values are the same set, so metrics of pixels are equal to the last digit."""
    exact = draws(0, images=200)
    permuted, one = spoiled(exact, "pixels permuted"), spoiled(exact, "one number")
    for name in ("crps", "spread_skill", "coverage_90"):
        assert value(named(name), permuted) == pytest.approx(value(named(name), exact.outcome), rel=1e-12)
    covered = {size: value(named(f"coverage_90@{size}"), exact.outcome) for size in (1, 4, "all")}
    assert covered == pytest.approx(dict.fromkeys(covered, 0.9), abs=3 * math.sqrt(0.09 / 200))
    assert value(named("coverage_90@4"), permuted) < 0.6 and value(named("coverage_90@all"), permuted) < 0.4
    assert value(named("coverage_90@all"), one) == 1 and value(named("coverage_90"), one) < 0.92
    assert value(named("spread_skill@all"), permuted) < 0.3 and value(named("spread_skill@all"), one) > 2
    assert value(named("crps@all"), permuted) > 1.2 * value(named("crps@all"), exact.outcome)


def test_a_column_is_named_after_its_metric_and_block():
    for name in ("crps", "crps@16", "coverage_90@all"):
        assert list(by_name([named(name)])) == [name]
        assert column(parted(name)[0], named(name)) == name
    assert named("crps@1") == named("crps")


@pytest.mark.parametrize("name", BLOCKED)
def test_metrics_of_blocks_conform(name):
    for size in (4, "all"):
        report = check_metric(named(f"{name}@{size}"), name)
        assert report.passed, report


@pytest.mark.parametrize("samples", [3, 19])
def test_the_distance_of_the_means_is_that_of_the_samples_from_the_mean_without_chance(samples):
    exact = draws(1, images=200, samples=samples)
    assert abs(value(named("mean_shift"), exact.outcome)) < 0.06
    assert value(named("mean_shift"), spoiled(exact, "shifted")) == pytest.approx(0.1, abs=0.03)
    with raises(Unavailable, "no posterior mean"):
        named("mean_shift").components(Outcome(*[*vars(exact.outcome).values()][:4], exact.outcome.samples))
