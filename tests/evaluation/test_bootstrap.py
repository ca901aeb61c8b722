from functools import cache

import numpy as np
import pytest

from invkit.core.keys import Keys
from invkit.evaluation import bootstrap as statistics
from invkit.evaluation.bootstrap import LEAST, Bootstrap
from invkit.evaluation.metrics.calibration import Crps, SpreadSkill

REPEATS = 1000


def mean_of(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"sum": values, "count": np.ones_like(values)}


def normals(count: int, seed: int = 0) -> np.ndarray:
    return Keys.of(seed, "values", [0]).normal("x", count)[0].double().numpy()


def names(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def test_values_are_the_metric_of_all_images_and_without_each_group():
    """For a ratio that must be pooled."""
    groups = ["a", "b", "a", "c", "c", "c"]
    parts = {"spread": np.abs(normals(6)), "skill": np.abs(normals(6, 1))}
    found = Bootstrap.of(groups, seed=0, resamples=20).values(SpreadSkill(), parts)
    for left_out, value in zip(("", "a", "b", "c"), found, strict=True):
        kept = [i for i, name in enumerate(groups) if name != left_out]
        assert value == pytest.approx(np.sqrt(parts["spread"][kept].sum() / parts["skill"][kept].sum()))


def test_resamples_are_groups_with_replacement():
    counts = Bootstrap.of(["a", "b", "a", "c"], seed=0, resamples=4000).counts
    assert (counts.sum(1) == 3).all()
    assert counts.mean(0) == pytest.approx(1, abs=0.05) and counts.var(0) == pytest.approx(2 / 3, abs=0.05)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    values = normals(400)
    bootstrap = Bootstrap.of(names(400), seed=0)
    low, high = bootstrap.interval(bootstrap.values(Crps(), mean_of(values)))
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def percentiles(bootstrap: Bootstrap, values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap, which is too short for few groups."""
    pseudo = len(values[1:]) * values[0] - (len(values[1:]) - 1) * values[1:]
    low, high = np.percentile(bootstrap.counts @ pseudo / len(pseudo), [2.5, 97.5])
    return float(low), float(high)


@cache
def repeats(law: str, count: int) -> tuple[Bootstrap, list[np.ndarray], float]:
    """Values of repeated data sets of `count` groups, and the true value."""
    random, bootstrap = np.random.default_rng(count), Bootstrap.of(names(count), 0, 1000)
    x, z = random.normal(size=(2, REPEATS, count))
    skewed, other = np.exp(x / 2), np.exp(z / 2)  # log-normal: skewness 1.75, mean exp(1 / 8)
    if law == "ratio":
        parts = [{"spread": a, "skill": b} for a, b in zip(skewed, other, strict=True)]
        return bootstrap, [bootstrap.values(SpreadSkill(), part) for part in parts], 1.0
    if law == "paired":  # of two rows that are mostly alike
        pairs = zip(skewed, skewed * np.exp((z - 0.5) / 4), strict=True)
        of = [[bootstrap.values(Crps(), mean_of(v)) for v in pair] for pair in pairs]
        return bootstrap, [a - b for a, b in of], np.exp(1 / 8) * (1 - np.exp(-1 / 8 + 1 / 32))
    data, true = (x, 0.0) if law == "normal" else (skewed, np.exp(1 / 8))
    return bootstrap, [bootstrap.values(Crps(), mean_of(v)) for v in data], true


@pytest.mark.parametrize("count", [LEAST, 8, 14])
@pytest.mark.parametrize("law", ["normal", "log-normal", "paired", "ratio"])
def test_intervals_contain_the_truth_as_often_as_they_say(law, count):
    bootstrap, found, true = repeats(law, count)

    def coverage(interval) -> float:
        return float(np.mean([low <= true <= high for low, high in map(interval, found)]))

    assert 0.93 <= coverage(bootstrap.interval) <= 0.98
    assert coverage(lambda values: percentiles(bootstrap, values)) < 0.93


def test_images_of_one_group_are_not_independent():
    """Forgetting the groups would make the interval of equal crops much too short."""
    values = np.repeat(normals(20), 16)
    widths = []
    for groups in ([str(i // 16) for i in range(320)], names(320)):
        bootstrap = Bootstrap.of(groups, seed=0)
        low, high = bootstrap.interval(bootstrap.values(Crps(), mean_of(values)))
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


def test_resamples_depend_on_the_seed_and_nothing_else(monkeypatch):
    groups = names(50)
    first = Bootstrap.of(groups, seed=1).counts
    monkeypatch.setattr(statistics, "CHUNK", 130)
    assert (Bootstrap.of(groups, seed=1).counts == first).all()
    assert (Bootstrap.of(groups, seed=2).counts != first).any()


@pytest.mark.parametrize("count", range(1, LEAST + 1))
def test_few_groups_have_no_interval(count):
    """However many images they contain."""
    bootstrap = Bootstrap.of(names(count) * 20, seed=0)
    found = bootstrap.interval(bootstrap.values(Crps(), mean_of(normals(20 * count))))
    assert (found == (None, None)) == (count < LEAST)


def test_a_value_that_one_group_alone_determines_has_no_interval():
    bootstrap = Bootstrap.of(names(8), seed=0)
    only = np.eye(8)[0]
    assert bootstrap.interval(bootstrap.values(Crps(), {"sum": only, "count": only})) == (None, None)


def test_equal_values_have_an_interval_of_length_0_and_an_outlier_a_finite_one():
    bootstrap = Bootstrap.of(names(8), seed=0)
    assert bootstrap.interval(bootstrap.mean(np.full(8, 2.0))) == (2, 2)
    low, high = bootstrap.interval(bootstrap.mean(np.eye(8)[0]))
    assert low < 0 < 1 / 8 < high and high - 1 / 8 <= 2.001 * 2.3646 / 8  # twice Student's t, standard error 1 / 8


def test_p_values_account_for_the_number_of_tests():
    """Of 30 true hypotheses with dependent values, in 300 tables; each p-value on its own rejects one in nearly every table."""
    keys = Keys.of(5, "family", range(300))
    common, own = (keys.normal(name, n, 14).double().numpy() for name, n in (("common", 1), ("own", 30)))
    scores = np.exp(common / 2) * own
    bootstrap = Bootstrap.of(names(14), seed=0)
    values = np.stack([bootstrap.mean(score) for score in scores.reshape(-1, 14)]).reshape(300, 30, -1)
    smallest = np.array([np.nanmin(bootstrap.tests(table)) for table in values])
    assert (smallest <= 0.05).mean() <= 0.08
    alone = [min(bootstrap.tests(one[None])[0] for one in table) for table in values[:10]]
    assert np.mean(np.array(alone) <= 0.05) > 0.5


def test_p_values_of_values_that_are_not_0_are_small_and_of_undefined_ones_absent():
    bootstrap = Bootstrap.of(names(30), seed=0)
    values = np.stack([bootstrap.mean(normals(30) + shift) for shift in (0.0, 3.0)])
    broken = np.where(np.arange(31) == 4, np.nan, values[0])
    found = bootstrap.tests(np.stack([*values, broken, np.zeros(31), np.ones(31)]))
    assert found[0] > 0.05 and found[1] == found[4] == 1 / 2001 and np.isnan(found[2]) and found[3] == 1
    assert np.isnan(Bootstrap.of(names(5), seed=0).tests(np.ones((2, 6)))).all()
