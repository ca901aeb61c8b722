import numpy as np
import pytest
import torch
from support.evaluations import Draws, Exact, table_of
from support.posteriors import MUTANTS, draws, spoiled

from invkit.core.keys import Keys
from invkit.evaluation import ranks
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.metrics import Outcome, named
from invkit.evaluation.ranks import rank_counts, rank_entries

LEVEL = 0.01
CRPS = (named("crps"),)
IMAGES = 250
CASES = {
    "exact": False,
    "exact with modes": True,
    **{name: name == "mode dropped" for name in MUTANTS},
}  # whether modes


def found(outcome: Outcome) -> dict[str, np.ndarray]:
    return {name: counts.numpy() for name, counts in rank_counts(outcome).items()}


def each(count: int) -> Bootstrap:
    return Bootstrap.of([str(i) for i in range(count)], seed=0)


def p_value(seed: int, case: str) -> float:
    exact = draws(seed, IMAGES, modes=CASES[case])
    outcome = exact.outcome if case.startswith("exact") else spoiled(exact, case)
    return rank_entries(found(outcome), each(IMAGES))["p"]


def test_ranks_are_those_of_the_truth_and_ties_count_in_equal_parts():
    samples = torch.tensor([[0.0, 1.0], [2.0, 1.0], [3.0, 5.0]]).view(3, 1, 2)
    counts = ranks._counts(torch.tensor([[2.5, 1.0]]), samples, torch.ones(1, 2))
    assert counts.tolist() == [[1 / 3, 1 / 3, 1 + 1 / 3, 0]]
    assert ranks._counts(torch.tensor([[2.5, 1.0]]), samples, torch.tensor([[1.0, 0.0]])).tolist() == [[0, 0, 1, 0]]


def test_every_statistic_counts_each_image_by_what_is_hidden():
    outcome = draws(0, images=8).outcome
    sums = {name: counts.sum(1) for name, counts in found(outcome).items()}
    assert list(sums) == ["block 1", "block 4", "block all", "tarp", "linear"]  # block 16 is the whole image
    assert (sums["block 1"] == outcome.weight.sum((1, 2, 3)).numpy()).all()
    assert (sums["block 4"] == 16).all() and (sums["block all"] == 1).all() and (sums["tarp"] == 1).all()
    assert (sums["linear"] == ranks.FUNCTIONALS).all()
    assert rank_counts(Outcome(outcome.truth, outcome.measurement, "mean", outcome.mean)) == {}


def test_functionals_have_equal_power_in_every_octave():
    weights = ranks._functionals(draws(0, images=2).outcome.measurement.grid)
    assert weights.shape == (ranks.FUNCTIONALS, 1, 16, 16)
    white = Keys.of(0, "white", range(ranks.FUNCTIONALS)).normal("w", 1, 16, 16).double()
    neighbours = [float((w[..., 1:] * w[..., :-1]).mean() / w.square().mean()) for w in (weights, white)]
    assert neighbours[0] > 0.3 > abs(neighbours[1])


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_samples_is_told_from_exact_ones(case):
    found = [p_value(seed, case) for seed in range(2)]
    assert all(p >= LEVEL for p in found) if case.startswith("exact") else all(p < LEVEL for p in found)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_in_100_of_100_and_exact_samples_pass_in_95(case):
    passed = sum(p_value(seed, case) >= LEVEL for seed in range(100))
    assert passed >= 95 if case.startswith("exact") else passed == 0


def rejected(count: int, size: int, shared: float, tables: int) -> tuple[float, float]:
    """Shares of tables of uniform ranks that are rejected at 5 %, by groups and with eight copies of each group as independent.

    A group has `size` ranks, which depend on each other.
    """
    keys = Keys.of(count + size, "ranks", range(tables))
    own, common = (keys.normal(name, count, n, 20).double() for name, n in (("own", size), ("common", 1)))
    values = shared**0.5 * common + (1 - shared) ** 0.5 * own  # (tables, groups, size, truth and 19 samples)
    below = (values[..., 1:] < values[..., :1]).sum(-1).numpy()
    counts = (below[..., None] == np.arange(20)).sum(2).astype(float)  # (tables, groups, 20)
    by_group, copies = each(count), each(8 * count)
    return (
        np.mean([rank_entries({"x": one}, by_group)["p"] <= 0.05 for one in counts]),
        np.mean([rank_entries({"x": np.repeat(one, 8, 0)}, copies)["p"] <= 0.05 for one in counts[:20]]),
    )  # fmt: skip


def test_the_level_holds_for_14_groups_whose_ranks_depend_on_each_other():
    found = rejected(14, 16, 0.6, tables=100)
    assert found[0] <= 0.11 and found[1] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 14, 35, 100])
@pytest.mark.parametrize(("size", "shared"), [(1, 0.0), (3, 0.7), (16, 0.6)])
def test_the_level_holds_for_any_number_of_groups(count, size, shared):
    assert rejected(count, size, shared, tables=1000)[0] <= 0.065


def test_the_table_has_histograms_for_rows_that_sample():
    result = table_of(Exact(), Exact("model", shrink=0.6), source=Draws(count=24), images=24, samples=9, metrics=CRPS)
    exact, sharp = result.table["calibration"]
    assert exact["uniformity"]["p"] > LEVEL > sharp["uniformity"]["p"]
    for entry in sharp["uniformity"]["ranks"]:
        assert len(entry["density"]) == (9 if entry["of"] == "tarp" else 10)
        assert np.mean(entry["density"]) == pytest.approx(1, rel=1e-4)
    pixels = sharp["uniformity"]["ranks"][0]["density"]
    assert pixels[0] > 1.3 and pixels[-1] > 1.3 and pixels[5] < 1


def test_few_groups_have_a_histogram_and_no_test():
    result = table_of(Exact(), source=Draws(count=5), images=5, samples=9, metrics=CRPS)
    [entry] = result.table["calibration"]
    assert entry["uniformity"]["p"] is None and entry["uniformity"]["ranks"][0]["p"] is None
