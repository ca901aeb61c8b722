import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.evaluations import DEVIATION, GRID, Coins, Draws, Exact, Flat, row, table_of
from torch import Tensor

from invkit.degradation import Measurement, Noise
from invkit.errors import NonFiniteError
from invkit.evaluation import Eval, Evaluation, evaluate_rows
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.metrics import COLUMNS, METRICS, Unavailable
from invkit.reconstruct import METHODS


class Absent(Exact):
    """It has nothing to say of such measurements."""

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise Unavailable("not made for coins")


@pytest.fixture(scope="module")
def toy() -> Evaluation:
    return table_of(Flat(), Exact(), Exact("model", shrink=0.7), images=48, samples=19)


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
    assert result.pictures["16x16"].method == "model"
    empty = [entry["crps"] for entry in result.per_image if (entry["method"], entry["readout"]) == ("model", "sample")]
    assert empty == [""] * 8


def test_the_table_keeps_its_contract(toy):
    assert toy.table["schema"] == "invkit.table/1"
    assert toy.table["images"] == 48
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
    assert row(toy, "flat", "point")["metrics"]["spread_skill"]["reason"] == "needs samples"
    assert "95 %" in row(toy, "gaussian", "sample")["metrics"]["coverage_95"]["reason"]
    assert "seconds" not in json.dumps(toy.table)
    json.dumps(toy.table, allow_nan=False)


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


def test_every_row_sees_the_same_measurements_and_only_those():
    first, second = Exact(), Exact("model")
    table_of(first, second, images=8, batch=4)
    for a, b in zip(first.shown, second.shown, strict=True):
        assert torch.equal(a.y, b.y)
        assert torch.equal(a.observed, b.observed)
        assert not a.y[~a.observed.expand_as(a.y)].any()


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


def test_the_batch_cut_changes_no_figure_and_no_mask():
    whole, cut = (table_of(Flat(), Exact(), images=20, samples=3, batch=batch) for batch in (20, 3))
    assert whole.table == cut.table
    assert whole.record == cut.record
    other = table_of(Flat(), images=20, seed=4)
    assert other.record["16x16"]["masks_sha256"] != whole.record["16x16"]["masks_sha256"]


@pytest.mark.parametrize("batch", [20, 3])
def test_a_few_pictures_are_kept_whatever_the_batch_cut(batch):
    result = table_of(Flat(), Exact(), images=20, samples=5, batch=batch)
    shapes = {f"{name}/{key}": values.shape for name, group in result.arrays.items() for key, values in group.items()}
    picture = (16, 3, 16, 16)
    assert shapes == {
        "truth/truth": picture,
        "truth/y": picture,
        "truth/observed": (16, 1, 16, 16),
        "truth/group": (16,),
        "flat/mean": picture,
        "gaussian/mean": picture,
        "gaussian/samples": (4, *picture),
    }
    np.testing.assert_array_equal(result.arrays["truth"]["truth"], Draws()[range(16)])


def test_shown_is_what_the_method_made_and_not_the_truth():
    shown = table_of(Exact("model", bias=0.1), Exact(), images=20, samples=5, batch=3).pictures["16x16"]
    assert shown.method == "gaussian"
    torch.testing.assert_close(shown.truth, Draws()[range(8)])
    observed = shown.measurement.observed.expand_as(shown.truth)
    for picture in (shown.mean, *shown.samples):
        assert torch.equal(picture[observed], shown.truth[observed])
        assert not (picture == shown.truth)[~observed].any()
    spread = shown.deviation[~observed].double().square().mean().sqrt()
    assert float(spread) == pytest.approx(DEVIATION, rel=0.05)


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


def test_fewer_pictures_than_asked_for_are_counted():
    result = table_of(Flat(), source=Draws(count=5))
    assert result.table["images"] == 5


def test_progress_counts_pictures_and_may_stop():
    heard = []
    table_of(Flat(), images=10, batch=4, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (10, 10)
    assert heard == sorted(heard)
    assert {done for done, _ in heard} == {0, 4, 8, 10}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table_of(Flat(), images=10, progress=stop)


def test_several_grids_make_rows_of_their_own():
    images = {grid: Draws(count=4, grid=grid) for grid in (GRID, Grid(12, 8))}
    result = evaluate_rows(
        [Flat(), Exact()], images, Coins(), Noise(), Eval(images=4, samples=2), seed=3, device=torch.device("cpu"),
        run="toy", degradation_name="coins",
    )  # fmt: skip
    assert [r["grid"] for r in result.table["rows"]] == [[16, 16]] * 3 + [[12, 8]] * 3
    assert "window" in result.table["rows"][-1]["metrics"]["ssim"]["reason"]
    assert {tuple(d["grid"]) for d in result.table["differences"]} == {(16, 16), (12, 8)}


def test_noise_is_measured_and_not_pasted():
    result = table_of(Flat(0), images=16, sigma=0.5)
    misfit = row(result, "flat", "point")["metrics"]["data_misfit"]["value"]
    assert misfit == pytest.approx(math.hypot(0.5, DEVIATION), rel=0.03)


def test_numbers_that_are_not_finite_are_named_and_not_averaged_away():
    class Broken(Exact):
        def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
            out = super().sample(measurement, keys, count)
            if len(self.shown) > 2:  # past the first batch
                out[-1, 1, 0, 0, 0] = math.nan
            return out

    with pytest.raises(NonFiniteError, match="gaussian, sample: not finite among test pictures 4 to 7"):
        table_of(Broken(), images=12, samples=2, batch=4)


def test_settings_name_each_thing_once():
    with pytest.raises(ValidationError, match="should name each only once"):
        Eval(metrics=(METRICS["psnr"](), METRICS["psnr"]()))
    with pytest.raises(ValidationError, match="should name each only once"):
        Eval(methods=(METHODS["model"](), METHODS["model"]()))
