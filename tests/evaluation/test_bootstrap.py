import numpy as np
import pytest

from invkit.core.keys import Keys
from invkit.evaluation import bootstrap as statistics
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.metrics.calibration import Crps, SpreadSkill


def mean_of(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"sum": values, "count": np.ones_like(values)}


def normals(count: int, seed: int = 0) -> np.ndarray:
    return Keys.of(seed, "values", [0]).normal("x", count)[0].double().numpy()


def test_values_are_the_metric_of_the_drawn_pictures():
    """Against pictures repeated one by one, for a ratio that must be pooled."""
    groups = ["a", "b", "a", "c", "c", "c"]
    parts = {"spread": np.abs(normals(6)), "skill": np.abs(normals(6, 1))}
    bootstrap = Bootstrap.of(groups, seed=0, resamples=20)
    found = bootstrap.values(SpreadSkill(), parts)
    assert found[0] == pytest.approx(np.sqrt(parts["spread"].sum() / parts["skill"].sum()))
    for count, value in zip(bootstrap.counts, found[1:], strict=True):
        assert count.sum() == 3
        drawn = [i for i, name in enumerate(groups) for _ in range(count["abc".index(name)])]
        assert value == pytest.approx(np.sqrt(parts["spread"][drawn].sum() / parts["skill"][drawn].sum()))


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    values = normals(400)
    bootstrap = Bootstrap.of([str(i) for i in range(400)], seed=0)
    low, high = bootstrap.interval(bootstrap.values(Crps(), mean_of(values)))
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_hold_the_truth_as_often_as_they_say():
    hits = 0
    for seed in range(200):
        bootstrap = Bootstrap.of([str(i) for i in range(60)], seed, resamples=300)
        low, high = bootstrap.interval(bootstrap.values(Crps(), mean_of(normals(60, seed))))
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.98


def test_pictures_of_one_photograph_are_drawn_together():
    """Forgetting the groups would make the interval of equal crops much too short."""
    values = np.repeat(normals(20), 16)
    widths = []
    for groups in ([str(i // 16) for i in range(320)], [str(i) for i in range(320)]):
        bootstrap = Bootstrap.of(groups, seed=0)
        low, high = bootstrap.interval(bootstrap.values(Crps(), mean_of(values)))
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.1)


def test_resamples_depend_on_the_seed_and_nothing_else(monkeypatch):
    groups = [str(i) for i in range(50)]
    first = Bootstrap.of(groups, seed=1).counts
    monkeypatch.setattr(statistics, "CHUNK", 130)
    assert (Bootstrap.of(groups, seed=1).counts == first).all()
    assert (Bootstrap.of(groups, seed=2).counts != first).any()


def test_one_group_has_no_interval():
    bootstrap = Bootstrap.of(["a", "a"], seed=0)
    assert bootstrap.interval(bootstrap.values(Crps(), mean_of(np.array([1.0, 2.0])))) == (None, None)


def test_resamples_without_a_value_are_left_out():
    bootstrap = Bootstrap.of(["a", "b"], seed=0)
    values = bootstrap.values(Crps(), {"sum": np.array([1.0, 0.0]), "count": np.array([1.0, 0.0])})
    assert np.isnan(values).any()
    assert bootstrap.interval(values) == (1.0, 1.0)
