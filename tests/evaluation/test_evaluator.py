import json
import math

import pytest
from support.evaluations import DEVIATION, GRID, Draws, Exact, Flat, protocol_of, row, table_of
from support.messages import missing
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.metrics import COLUMNS, Unavailable
from invkit.evaluation.settings import Eval
from invkit.evaluation.table import render
from invkit.physics.measurement import Measurement


class Absent(Exact):
    """It has nothing to say of such measurements."""

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise Unavailable("not made for coins")


def test_an_exact_posterior_has_the_figures_of_the_closed_form(toy):
    cells = row(toy, "gaussian", "sample")["metrics"]
    expected = {
        "crps": DEVIATION / math.sqrt(math.pi) / 2,
        "coverage_50": 0.5,
        "coverage_80": 0.8,
        "coverage_90": 0.9,
        "spread_skill": 1,
        "sample_mse_ratio": 2,
    }
    for name, value in expected.items():
        assert cells[name]["value"] == pytest.approx(value, rel=0.02), name
        assert cells[name]["lo"] < cells[name]["value"] < cells[name]["hi"]
    assert cells["data_misfit"]["value"] == 0
    mean = row(toy, "gaussian", "mean")["metrics"]
    assert mean["crps"]["value"] == pytest.approx(DEVIATION * math.sqrt(2 / math.pi) / 2, rel=0.02)
    assert mean["psnr_hidden"]["value"] == pytest.approx(-20 * math.log10(DEVIATION / 2), abs=0.1)


def test_a_sampler_too_sure_of_itself_is_found_out(toy):
    cells = row(toy, "model", "sample")["metrics"]
    assert cells["spread_skill"]["hi"] < 0.8
    assert cells["coverage_90"]["hi"] < 0.85
    assert cells["sample_mse_ratio"]["hi"] < 1.6
    worse = next(d for d in toy.table["differences"] if (d["metric"], d["readout"]) == ("crps", "sample"))
    assert worse["method"] == "model"
    assert worse["lo"] > 0


def test_a_method_that_refuses_has_an_empty_row_and_the_others_theirs():
    result = table_of(Exact(), Absent("model"), images=8, samples=3)
    cells = row(result, "model", "sample")["metrics"]
    assert {(cell["value"], cell["reason"]) for cell in cells.values()} == {(None, "not made for coins")}
    assert row(result, "model", "mean")["metrics"] == row(result, "gaussian", "mean")["metrics"]
    assert row(result, "gaussian", "sample")["metrics"]["crps"]["value"] > 0
    cost = next(r for r in result.cost["rows"] if (r["method"], r["readout"]) == ("model", "sample"))
    assert cost["seconds_per_image"] is None
    assert result.examples["16x16"]().estimates["model"].sample is None
    empty = [entry["crps"] for entry in result.per_image if (entry["method"], entry["readout"]) == ("model", "sample")]
    assert empty == [""] * 8


def test_the_table_keeps_its_contract(toy):
    assert toy.table["schema"] == "invkit.table/1"
    assert toy.table["images"] == 48
    assert "notes" not in toy.table
    assert [(r["method"], r["readout"]) for r in toy.table["rows"]] == [
        ("flat", "point"), ("gaussian", "mean"), ("gaussian", "sample"), ("model", "mean"), ("model", "sample"),
    ]  # fmt: skip
    for r in toy.table["rows"]:
        assert {"run", "degradation", "method", "readout", "grid", "nfe", "samples", "metrics"} == r.keys()
        assert (r["run"], r["degradation"], r["grid"]) == ("toy", "coins", [16, 16])
        assert r["samples"] == (19 if r["readout"] == "sample" else 0)
        assert tuple(r["metrics"]) == COLUMNS
        for cell in r["metrics"].values():
            assert {"value", "lo", "hi"} <= cell.keys()
            if cell["value"] is None:
                assert (cell["lo"], cell["hi"]) == (None, None)
                assert cell["reason"]
            else:
                assert cell["value"] == float(f"{cell['value']:.6g}")
    assert row(toy, "flat", "point")["metrics"]["spread_skill"]["value"] is None
    assert not missing(row(toy, "gaussian", "sample")["metrics"]["coverage_95"]["reason"], 19, "95 %", 39)
    assert "seconds" not in json.dumps(toy.table)
    json.dumps(toy.table, allow_nan=False)


def test_fewer_images_than_asked_for_are_noted():
    table = table_of(Flat(), source=Draws(count=4), images=200).table
    assert table["images"] == 4 and table["notes"] == ["eval.images=200: the test split has 4"]
    assert "eval.images=200: the test split has 4" in render(table)


def test_two_evaluations_write_the_same_bytes_but_for_cost(tmp_path):
    for name in ("a", "b"):
        table_of(Flat(), Exact(), images=8, samples=3).write(tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    names = {str(p) for p in files}
    assert {"table.json", "table.csv", "per_image.csv", "cost.json", "reconstructions/gaussian.npz"} <= names
    for file in files:
        if file.name != "cost.json":
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert "seconds_per_image" in (tmp_path / "a" / "cost.json").read_text()


def test_several_grids_make_rows_of_their_own():
    images = {grid: Draws(count=4, grid=grid) for grid in (GRID, Grid(12, 8))}
    result = evaluate_rows([Flat(), Exact()], images, protocol_of(Eval(images=4, samples=2)))
    assert [r["grid"] for r in result.table["rows"]] == [[16, 16]] * 3 + [[12, 8]] * 3
    assert "11x11" in result.table["rows"][-1]["metrics"]["ssim"]["reason"]
    assert {tuple(d["grid"]) for d in result.table["differences"]} == {(16, 16), (12, 8)}
