import numpy as np
import pytest
from support.messages import raises

from invkit.core.keys import Keys
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.posterior import Posterior


def posterior(count: int = 19, sigma: float = 0.0) -> Posterior:
    keys = Keys.of(0, "posterior", range(2))
    mask = Mask(keys.uniform("m", 1, 4, 5) < 0.3)
    measurement = Measurement(mask, mask.forward(keys.normal("y", 3, 4, 5)), sigma)
    samples = keys.fork(count).normal("s", 3, 4, 5).unflatten(0, (count, 2))
    return Posterior(measurement, measurement.paste(samples.mean(0)), measurement.paste(samples))


@pytest.mark.parametrize(("count", "percent", "rank"), [(19, 90, 1), (19, 50, 5), (39, 95, 1), (39, 90, 2)])
def test_intervals_are_order_statistics(count, percent, rank):
    p = posterior(count)
    ordered = np.sort(p.samples.numpy(), 0)
    lower, upper = p.interval(percent)
    np.testing.assert_array_equal(lower, ordered[rank - 1])
    np.testing.assert_array_equal(upper, ordered[count - rank])


def test_intervals_that_there_are_not():
    with raises(ValueError, 18, 90, 19):
        posterior(18).interval(90)
    with raises(ValueError, 19, 95, 39):
        posterior().interval(95)


@pytest.mark.parametrize("percent", [0.9, 90.0, "90", 0, 100, -5, None])
def test_percentages_that_are_none_are_told_with_the_possible_ones(percent):
    with raises(ValueError, repr(percent), 19, "10, 20, 30, 40, 50, 60, 70, 80, 90"):
        posterior().interval(percent)


def test_the_deviation_is_unbiased_and_zero_where_a_pixel_is_known():
    p = posterior()
    known = p.measurement.observed.expand(-1, 3, -1, -1)
    np.testing.assert_allclose(p.deviation[~known], np.std(p.samples.numpy(), 0, ddof=1)[~known], rtol=1e-5)
    assert (p.deviation[known] == 0).all()
    noisy = posterior(sigma=0.1)
    assert (noisy.deviation > 0).all()
    with raises(ValueError, 2):
        _ = posterior(1).deviation
