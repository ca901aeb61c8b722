"""Estimates that do not fit the data are told below the table, whatever the columns show."""

import pytest
import torch
from support.evaluations import DEVIATION, Exact, Flat, table_of

from invkit.evaluation.table import render


class Diverged(Exact):
    """Samples that are far off, with the observed pixels pasted in by the metrics."""

    def sample(self, measurement, keys, count):
        return 900 * torch.ones(count, *measurement.y.shape)


def notes(*methods, **settings):
    return table_of(*methods, images=8, samples=3, **settings).table.get("notes", [])


def test_a_method_that_diverged_is_told():
    (note,) = notes(Diverged("dps"), Exact())
    start, ratio = "coins, 16x16: dps sample does not fit the data: A x - y is ", 900 / DEVIATION
    assert note.startswith(start) and float(note.removeprefix(start).split()[0]) == pytest.approx(ratio, rel=0.03)
    table = table_of(Diverged("dps"), images=8, samples=3).table
    assert "does not fit the data" in render(table, "table") and "does not fit the data" in render(table, "html")


@pytest.mark.parametrize("value", [0.0, 0.25, DEVIATION * 2.9])
def test_a_poor_one_is_not(value):
    assert notes(Exact(), Flat(value), Exact("other", bias=0.3), sigma=0.1) == []
