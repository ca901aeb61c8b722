import numpy as np
import pytest
from support.evaluations import Draws, Exact, Flat, table_of

from invkit.core.keys import Keys
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.ranking import not_worse
from invkit.evaluation.table import cell, render


class Near(Flat):
    """As good as `Flat`, up to what the pictures happen to be."""

    name = "near"


def found(table: dict, metric: str, compared: str) -> dict | None:
    return next((e for e in table["best"] if (e["metric"], e["compared"]) == (metric, compared)), None)


@pytest.fixture(scope="module")
def table() -> dict:
    rows = (Flat(0.25), Near(0.0), Exact(bias=0.001), Exact("model", shrink=0.7), Exact("twin", shrink=0.97))
    return table_of(*rows, images=48, samples=5, batch=48).table


def test_the_best_of_the_means_and_what_cannot_be_told_from_it(table):
    entry = found(table, "mae", "mean")
    # 0 is the mean of the law: `near` and three means of 0 or nearly 0; .25 is worse, by far more than chance
    assert entry["run"] == "toy" and entry["degradation"] == "coins" and entry["grid"] == [16, 16]
    named = {entry["best"]["method"], *(row["method"] for row in entry["alike"])}
    assert "flat" not in named and {"model", "twin", "near"} <= named
    values = {r["method"]: r["metrics"]["mae"]["value"] for r in table["rows"] if r["readout"] != "sample"}
    assert values[entry["best"]["method"]] == min(values.values())


def test_samples_are_compared_with_samples_and_not_by_how_near_one_of_them_is(table):
    crps = found(table, "crps", "sample")
    assert crps["best"]["readout"] == "sample" and "model" not in {row["method"] for row in crps["alike"]}
    psnr = {r["method"]: r["metrics"]["psnr"]["value"] for r in table["rows"] if r["readout"] == "sample"}
    assert max(psnr, key=psnr.get) == "model"  # it spreads too little
    assert found(table, "psnr", "sample") is None and found(table, "psnr", "mean") is not None
    assert found(table, "spread_skill", "sample") is None  # there is a right value
    assert "samples not by lpips, mae, psnr, psnr_hidden, ssim" in table["protocol"]["best"]


def test_one_row_of_a_kind_is_no_comparison():
    ranks = table_of(Flat(), Exact(), images=8, samples=3).table["best"]
    assert {entry["compared"] for entry in ranks} == {"mean"}


@pytest.mark.parametrize(("groups", "ranked"), [(1, False), (5, False), (6, True)])
def test_few_photographs_have_no_intervals_ranks_or_marks(groups, ranked):
    result = table_of(Flat(), Exact(), source=Draws(count=groups * 4, share=4), images=groups * 4, samples=3)
    text = render(result.table, "table", 400)
    shown = [sign in text for sign in ("±", "●", "▼", "no intervals and no marks with fewer than 6 groups")]
    assert shown == [ranked, ranked, ranked, not ranked]
    assert f"{groups * 4} test images in {groups} independent groups" in text
    assert bool(result.table["best"]) == ranked
    ends = [(d["lo"], d["hi"]) for d in result.table["differences"]]
    assert all((end == (None, None)) != ranked for end in ends)


def test_every_format_shows_the_ranks(table):
    cells = {(r["method"], r["readout"]): r["metrics"] for r in table["rows"]}
    entry = found(table, "crps", "sample")
    text = cell(cells[entry["best"]["method"], "sample"]["crps"])
    shown = {"table": f"{text}", "md": f"**{text}", "html": f"<strong>{text}"}
    for fmt, part in shown.items():
        assert part in render(table, fmt, 300)
    text = render(table, "table", 300)
    assert "●" in text and "○" in text
    plain = {**table, "best": []}
    assert "**" not in render(plain, "md") and "●" not in render(plain, "md")
    bars = [[line.count("|") for line in render(one, "md").splitlines()] for one in (table, plain)]
    assert bars[0][: len(table["rows"]) + 2] == bars[1][: len(table["rows"]) + 2]


def tables(rows: int, groups: int, worse: float, repeats: int) -> tuple[Bootstrap, np.ndarray]:
    """Scores of the rows of repeated tables, (repeats, rows, groups); the second half of the rows is worse by this share.

    Log-normal scores: images differ with a standard deviation of 40 %, rows on the same image by 5 % each.
    """
    keys = Keys.of(rows + groups, "tables", range(repeats))
    image, own = (keys.normal(name, n, groups).double().numpy() for name, n in (("image", 1), ("own", rows)))
    factors = np.where(np.arange(rows) < rows / 2, 1, 1 + worse)
    scores = np.exp(0.4 * image + 0.05 * own) * factors[:, None]
    return Bootstrap.of([str(i) for i in range(groups)], seed=0), -scores  # higher is better


def jackknifed(scores: np.ndarray) -> np.ndarray:
    """Means over groups, and without each group: (rows, 1 + groups)."""
    total, groups = scores.sum(1, keepdims=True), scores.shape[1]
    return np.concatenate([total / groups, (total - scores) / (groups - 1)], 1)


def pairwise(values: np.ndarray, bootstrap: Bootstrap) -> np.ndarray:
    """The rule without an error rate: rows whose interval of the difference from the best row includes 0."""
    top = values[values[:, 0].argmax()]
    intervals = [bootstrap.interval(own - top) for own in values]
    return np.array([low <= 0 <= high for low, high in intervals])


def kept(rule, groups: int, worse: float, repeats: int, rows: int = 12) -> np.ndarray:
    bootstrap, scores = tables(rows, groups, worse, repeats)
    return np.stack([rule(jackknifed(one), bootstrap) for one in scores])  # (repeats, rows)


def test_equal_rows_are_in_the_confidence_set_and_worse_ones_are_not():
    assert kept(not_worse, 35, 0.0, 40).mean() >= 0.93
    assert kept(pairwise, 35, 0.0, 40).mean() < 0.92  # the mutant
    inside = kept(not_worse, 35, 0.06, 40)
    assert inside[:, :6].mean() >= 0.93 and (~inside[:, 6:]).mean() >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("groups", [14, 35, 100])
def test_the_set_has_its_confidence_for_any_number_of_groups(groups):
    inside, by_pairs = (kept(rule, groups, 0.0, 400) for rule in (not_worse, pairwise))
    assert inside.mean() >= 0.93 > by_pairs.mean()
    inside = kept(not_worse, groups, 0.06, 400)
    assert inside[:, :6].mean() >= 0.93 and (~inside[:, 6:]).mean() >= 0.75


def test_a_row_that_cannot_be_compared_is_not_declared_worse():
    bootstrap, scores = tables(3, 20, 0.0, 1)
    values = jackknifed(scores[0] - np.array([[0.0], [9.0], [9.0]]))
    values[2, 3] = np.nan
    assert not_worse(values, bootstrap).tolist() == [True, False, True]


def test_rows_that_are_equal_in_every_image_are_all_best():
    bootstrap, scores = tables(1, 20, 0.0, 1)
    values = np.repeat(jackknifed(scores[0]), 3, 0)
    assert not_worse(values, bootstrap).all()
    values[1] -= 1e-3  # worse by the same in every image
    assert not_worse(values, bootstrap).tolist() == [True, False, True]
