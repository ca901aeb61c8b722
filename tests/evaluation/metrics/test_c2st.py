from dataclasses import replace

import numpy as np
import pytest
from support.evaluations import Exact, row, table_of
from support.messages import raises
from support.posteriors import MUTANTS, Draws, draws, spoiled

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics import Outcome, named
from invkit.evaluation.metrics.c2st import C2st, accuracy
from invkit.testing import check_metric

COUNT = 12


def halves(seed: int, images: int, modes: bool) -> tuple[Draws, Outcome]:
    """Draws of a posterior, and an outcome with other draws of it as the exact ones."""
    both = draws(seed, images, samples=2 * COUNT, modes=modes)
    samples = both.outcome.samples
    first = replace(both.outcome, samples=samples[:COUNT], exact=samples[COUNT:])
    return replace(both, outcome=first, others=both.others[:COUNT]), first


def told(outcome: Outcome) -> float:
    return C2st().of_set({name: part.numpy() for name, part in C2st().components(outcome).items()})


@pytest.mark.parametrize(("name", "least"), list(zip(MUTANTS, (0.95, 0.95, 0.53, 0.52, 0.6), strict=True)))
def test_samples_with_a_fault_are_told_from_exact_ones_and_exact_ones_are_not(name, least):
    exact, outcome = halves(0, 100, name == "mode dropped")
    assert told(outcome) == pytest.approx(0.5, abs=0.05)  # standard error about .02 for 100 images of 8 samples
    assert told(spoiled(exact, name)) > max(least, told(outcome))


def test_the_exact_row_is_compared_with_other_samples_of_its_own():
    exact = draws(1, images=100, samples=19).outcome
    assert told(replace(exact, exact=exact.samples)) == pytest.approx(0.5, abs=0.06)


def test_the_accuracy_of_normal_points_is_that_of_the_best_line():
    x = Keys.of(0, "points", range(4)).normal("x", 4000, 2).double().numpy()
    shift = np.array([1.0, 0.0])
    found = accuracy(x[0] + shift, x[1] - shift, x[2] + shift, x[3] - shift)
    assert found == pytest.approx(0.8413, abs=0.015)  # the normal distribution at 1


def test_what_it_needs_is_told():
    _, outcome = halves(0, 4, False)
    with raises(Unavailable, "oracle"):
        C2st().components(replace(outcome, exact=None))
    with raises(Unavailable, 6):
        C2st().components(replace(outcome, samples=outcome.samples[:5]))
    with raises(Unavailable, 10):
        told(outcome)
    assert check_metric(C2st).passed


def test_rows_are_compared_with_the_oracle_wherever_it_stands():
    found = [
        table_of(*methods, images=30, samples=9, metrics=(named("c2st"),))
        for methods in ((Exact("model", shrink=0.5), Exact("oracle")), (Exact("oracle"), Exact("model", shrink=0.5)))
    ]
    values = [
        {name: row(one, name, "sample")["metrics"]["c2st"]["value"] for name in ("model", "oracle")} for one in found
    ]
    assert values[0] == values[1]
    assert values[0]["model"] > 0.9 and values[0]["oracle"] == pytest.approx(0.5, abs=0.1)
    assert (
        "oracle"
        in row(table_of(Exact(), images=6, samples=9, metrics=(named("c2st"),)), "gaussian", "sample")["metrics"][
            "c2st"
        ]["reason"]
    )
