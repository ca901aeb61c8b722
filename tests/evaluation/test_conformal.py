import inspect
import math

import numpy as np
import pytest
from scipy import stats
from support.evaluations import Draws, Exact, Flat, table_of
from support.messages import missing

from invkit.core.keys import Keys
from invkit.evaluation import conformal
from invkit.evaluation.conformal import LEVEL, calibrate, scores, split, threshold

TIMES, SIZE = 500, 100  # calibrations, and the pictures of each
HALF = SIZE // 2
ALONE = [str(i) for i in range(SIZE)]  # every picture is of its own photograph
# How many of the held-out half are covered, if the k-th of the other half is the factor: exactly, for any law of scores.
LAW = stats.betabinom(HALF, 46, HALF + 1 - 46)


def as_guaranteed(found=calibrate) -> bool:
    """Whether the mean of what is covered keeps the bounds of the theorem, and its deviation is that of honest halves."""
    values = Keys.of(5, "scores", range(TIMES)).normal("x", SIZE).double().exp().numpy()
    shares = [found(row, ALONE, seed)["coverage"]["value"] for seed, row in enumerate(values)]
    error, deviation = LAW.std() / HALF / math.sqrt(TIMES), np.std(shares) / (LAW.std() / HALF)
    return LEVEL - 3 * error <= np.mean(shares) <= LEVEL + 1 / (HALF + 1) + 3 * error and 0.85 < deviation < 1.15


def mutant(old: str, new: str):
    """`calibrate` with another line in the module."""
    source = inspect.getsource(conformal)
    assert source.count(old) == 1
    space = {"__name__": "mutant"}
    exec(compile(source.replace(old, new), "mutant", "exec"), space)
    return space["calibrate"]


def test_the_guarantee_holds_on_exchangeable_pictures():
    assert as_guaranteed()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(len(values) + 1) * LEVEL", "len(values) * LEVEL"),
        ("factor = threshold(chosen)", "factor = threshold(held_out)"),
        ("factor = threshold(chosen)", "factor = threshold(np.concatenate([chosen, held_out]))"),
    ],
)
def test_calibrated_otherwise_it_does_not(old, new):
    """Without the correction; on the wrong half, or on all, which cover what they have seen."""
    assert not as_guaranteed(mutant(old, new))


def test_the_rank_is_the_least_that_the_guarantee_allows():
    for count in range(9, 200):
        chance = threshold(np.arange(1.0, count + 1)) / (count + 1)  # that one more exchangeable score is not above
        assert LEVEL - 1e-9 <= chance < LEVEL + 1 / (count + 1)
    assert threshold(np.arange(8.0)) == math.inf


def test_scores_are_the_least_factor_that_covers_enough():
    keys = Keys.of(1, "pictures", range(5))
    error, deviation = keys.normal("e", 3, 6, 6), keys.uniform("d", 3, 6, 6) + 0.1
    weight = (keys.uniform("w", 1, 6, 6) < 0.7).float().expand(-1, 3, -1, -1)
    for b, score in enumerate(scores(error, deviation, weight)):
        ratio = (error / deviation)[b][weight[b] > 0].abs()
        inside = [float((ratio.double() <= factor).double().mean()) for factor in (score + 1e-6, score - 1e-6)]
        assert inside[0] >= 0.9 > inside[1]
    nothing = scores(error, deviation, 0 * weight)
    assert nothing.isnan().all()
    assert scores(error, 0 * deviation, weight).isinf().all()
    assert (scores(0 * error, 0 * deviation, weight) == 0).all()


def test_halves_are_of_different_photographs_and_one_picture_of_each():
    groups = [f"photograph {i // 3}" for i in range(300)]
    first, second = split(groups, 0)
    assert len(first) == len(second) == 50 and not {*first} & {*second}
    assert {*first, *second} == set(range(0, 300, 3))
    assert {*split(groups, 1)[0]} != {*first}


def test_too_few_pictures_have_no_factor_but_a_reason():
    crops = ["one photograph"] * 150 + [str(i) for i in range(98)]
    found = calibrate(np.ones(248), crops, 0)
    assert found["factor"] is None and found["coverage"]["value"] is None
    assert not missing(found["reason"], 100, 99)
    hopeless = np.where(np.arange(100) < 50, math.inf, 1.0)
    assert calibrate(hopeless, ALONE, 0)["factor"] is None and calibrate(hopeless, ALONE, 0)["reason"]
    unjudged = np.where(np.arange(150) < 50, math.nan, 1.0)
    assert calibrate(unjudged, [str(i) for i in range(150)], 0)["factor"] == 1


def test_a_sampler_too_sure_of_itself_gets_the_factor_that_it_lacks():
    """Samples shrunk to half their deviation: the factor doubles, and covers as well."""
    result = table_of(Flat(), Exact(), Exact("model", shrink=0.5), source=Draws(count=120), images=120, samples=19)
    entries = {entry["method"]: entry for entry in result.table["calibration"]}
    assert entries.keys() == {"gaussian", "model"}
    exact, sure = (entries[name]["conformal"] for name in ("gaussian", "model"))
    # Of one pixel: |t - mean| < f s for 90 % where the scaled t law of 18 degrees says so; a picture's 90th percentile
    # over its 540 pixels varies by 3 % and the 90th of those is a little above.
    normal = stats.t.ppf(0.95, 18) * math.sqrt(1 + 1 / 19)
    assert 1 < exact["factor"] / normal < 1.15
    assert sure["factor"] / exact["factor"] == pytest.approx(2, rel=0.06)
    for found in (exact, sure):
        assert (found["images"], found["held_out"]) == (60, 60)
        assert found["coverage"]["lo"] < 0.9 < found["coverage"]["hi"] + 0.05
        for end in (found["coverage"]["lo"], found["coverage"]["hi"]):  # the ends of Wilson's interval solve this
            half = 1.96 * math.sqrt(end * (1 - end) / 60)
            assert abs(found["coverage"]["value"] - end) == pytest.approx(half, abs=1e-4)
    assert "90%" in result.table["protocol"]["conformal"]
