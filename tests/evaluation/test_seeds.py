"""The joint table of several seeds: its intervals contain the mean over other seeds and other groups."""

import math

import numpy as np
import pytest
from scipy.stats import t as student
from support.evaluations import Draws, Exact, Flat, table_of
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.keys import Keys
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.seeds import interval, joint_table
from invkit.evaluation.table import render, to_csv

SEEDS = 3
# groups, then standard deviations of the effects of seed, group and both, and the skewness of the effect of the group
EFFECTS = [
    (14, 0.5, 1, 0.0, False), (14, 0.0, 1, 0.3, True), (14, 1, 0, 0.01, False), (14, 0.0, 1, 1, False), (14, 0.1, 1, 0.3, False),
    (14, 0.25, 1, 0.3, True), (40, 0.25, 1, 0.3, False), (40, 1, 1, 1, False), (40, 0.0, 1, 0.1, True), (100, 0.1, 1, 0.3, False),
]  # fmt: skip
FAST = 2


def jackknife(y):
    """Values of means over groups, (S, 1 + G), of `y` (S, G)."""
    return np.concatenate([y.mean(1, keepdims=True), (y.sum(1, keepdims=True) - y) / (y.shape[1] - 1)], 1)


def coverage(groups, seed_sd, group_sd, rest_sd, skewed, times, found=interval):
    """How often the interval contains the true mean, 0, of a two-way layout of random effects."""
    bootstrap, keys = Bootstrap.of([str(i) for i in range(groups)], 0), Keys.of(8, f"{groups}", range(times))
    a, b, e = (
        keys.normal(name, *shape).double().numpy()
        for name, *shape in (("a", SEEDS, 1), ("b", 1, groups), ("e", SEEDS, groups))
    )
    b = (np.exp(b / 2) - math.exp(1 / 8)) / math.sqrt((math.exp(1 / 4) - 1) * math.exp(1 / 4)) if skewed else b
    ends = [found(jackknife(y), bootstrap) for y in seed_sd * a + group_sd * b + rest_sd * e]
    return np.mean([low <= 0 <= high for low, high in ends])


def of_groups(values, bootstrap):
    """The mutant: the seeds as if no other could have been drawn."""
    return bootstrap.interval(values.mean(0))


@pytest.mark.parametrize("effects", EFFECTS[:FAST])
def test_intervals_contain_the_mean_for_other_seeds(effects):
    assert coverage(*effects, times=400) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("effects", EFFECTS)
def test_intervals_contain_the_mean_for_other_seeds_often(effects):
    assert coverage(*effects, times=3000) >= 0.93


def test_intervals_over_groups_alone_do_not():
    assert coverage(*EFFECTS[0], times=400, found=of_groups) < 0.9


def test_the_interval_is_the_formula():
    y = Keys.of(1, "y", range(SEEDS)).normal("x", 10).double().numpy()
    bootstrap, values = Bootstrap.of([str(i) for i in range(10)], 3), jackknife(y)
    mean, (low, high) = y.mean(), bootstrap.interval(jackknife(y).mean(0))
    half = student.ppf(0.975, SEEDS - 1) * y.mean(1).std(ddof=1) / math.sqrt(SEEDS)
    expected = mean - math.sqrt((mean - low) ** 2 + half**2), mean + math.sqrt((high - mean) ** 2 + half**2)
    assert interval(values, bootstrap) == pytest.approx(expected)
    equal = np.repeat(values[:1], SEEDS, 0)
    assert interval(equal, bootstrap) == pytest.approx(bootstrap.interval(values[0]))
    assert interval(jackknife(y[:, :4]), Bootstrap.of(list("abcd"), 3)) == (None, None)


@pytest.fixture(scope="module")
def runs():
    """Evaluations of three models, whose samples are spread differently, beside methods without a seed."""
    methods = [(Flat(), Exact(), Exact("model", shrink=shrink)) for shrink in (0.7, 0.8, 1.2)]
    return [table_of(*chosen, source=Draws(48, share=4), images=48, samples=9) for chosen in methods]


def entry(table, method, readout, metric, of="rows"):
    return next(
        row["metrics"][metric] if of == "rows" else row
        for row in table[of]
        if (row["method"], row["readout"]) == (method, readout) and (of == "rows" or row["metric"] == metric)
    )


def test_a_joint_table_has_the_mean_over_seeds_and_their_spread(runs):
    tables = [run.table for run in runs]
    joint = joint_table("cells", [4, 5, 6], tables, [run.jackknife for run in runs])
    assert joint["seeds"] == [4, 5, 6] and {row["run"] for row in joint["rows"]} == {"cells"}
    for metric in ("crps", "spread_skill"):
        own = [entry(table, "model", "sample", metric) for table in tables]
        found = entry(joint, "model", "sample", metric)
        assert found["value"] == pytest.approx(np.mean([one["value"] for one in own]), rel=1e-5)
        assert found["sd"] == pytest.approx(np.std([one["value"] for one in own], ddof=1), rel=1e-4)
        assert found["hi"] - found["lo"] > max(one["hi"] - one["lo"] for one in own)
        paired = [entry(table, "model", "sample", metric, "differences") for table in tables]
        difference = entry(joint, "model", "sample", metric, "differences")
        assert difference["value"] == pytest.approx(np.mean([one["value"] for one in paired]), rel=1e-4)
        assert difference["sd"] == pytest.approx(found["sd"], rel=1e-3)  # the baseline has no seed
    same = entry(tables[0], "flat", "point", "psnr"), entry(joint, "flat", "point", "psnr")
    assert same[1] == pytest.approx({**same[0], "sd": 0.0})
    assert entry(joint, "flat", "point", "coverage_50")["value"] is None
    text, lines = render(joint), to_csv(joint).splitlines()
    assert "seeds 4, 5, 6" in text and f"({entry(joint, 'model', 'sample', 'crps')['sd']:.2g})" in text
    assert lines[0].split(",")[-2] == "sd" and "(" not in render(tables[0]).split("test images")[0]


def test_runs_of_other_measurements_have_no_joint_table(runs):
    other = table_of(Flat(), Exact(), Exact("model"), source=Draws(48, share=4), images=48, samples=9, seed=9)
    fewer = table_of(Flat(), Exact(), source=Draws(48, share=4), images=48, samples=9)
    for one, facts in ((other, ("measurements",)), (fewer, ("rows",))):
        with raises(DataError, "cells", 0, 1, *facts):
            joint_table("cells", [0, 1], [runs[0].table, one.table], [runs[0].jackknife, one.jackknife])
