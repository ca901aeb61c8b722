from collections.abc import Sequence

import numpy as np
import pytest
from support.evaluations import Draws, Flat, row, table_of
from torch import Tensor

from invkit.core.keys import Keys


def test_differences_are_those_of_the_same_readout_and_pair_on_the_same_pictures(toy):
    found = {(d["method"], d["readout"], d["metric"]): d for d in toy.table["differences"]}
    assert {key[:2] for key in found} == {("flat", "point"), ("model", "mean"), ("model", "sample")}
    flat = found["flat", "point", "psnr"]
    values = [row(toy, *which)["metrics"]["psnr"]["value"] for which in (("flat", "point"), ("gaussian", "mean"))]
    assert flat["value"] == pytest.approx(values[0] - values[1], abs=1e-4)
    assert flat["hi"] < 0
    assert all(d["lo"] <= d["value"] <= d["hi"] for d in found.values())
    same = found["model", "mean", "crps"]  # the same mean: paired, the difference is nothing at all
    assert (same["value"], same["lo"], same["hi"]) == (0, 0, 0)


def test_per_image_figures_average_to_the_table(toy):
    values = [r["psnr"] for r in toy.per_image if (r["method"], r["readout"]) == ("gaussian", "sample")]
    assert len(values) == 48
    assert np.mean(values) == pytest.approx(row(toy, "gaussian", "sample")["metrics"]["psnr"]["value"], rel=1e-5)


def test_crops_of_one_photograph_widen_the_interval():
    """Every photograph is shown by equal crops: forgetting the groups would halve the interval."""

    class Equal(Draws):
        def __getitem__(self, ids: Sequence[int]) -> Tensor:
            levels = Keys.of(7, "levels", [i // 8 for i in ids]).normal("x", 1, 1, 1)
            return (0.2 * levels).expand(-1, *self.grid.picture).contiguous()

    widths = []
    for share in (8, 1):
        cell = row(table_of(Flat(0), source=Equal(share=share)), "flat", "point")["metrics"]["mae"]
        widths.append(cell["hi"] - cell["lo"])
    assert widths[0] > 2 * widths[1]
