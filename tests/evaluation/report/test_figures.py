import pytest

from invkit.evaluation.report.figures import cost_figures, deviation_figure, reliability_figure, training_figure
from invkit.evaluation.report.headline import headline


def entry(value: float | None, lo: float | None = None, hi: float | None = None) -> dict:
    return {"value": value, "lo": lo, "hi": hi}


def row(method: str, readout: str, degradation: str = "coins", **metrics: dict) -> dict:
    head = {"run": "toy", "degradation": degradation, "grid": [8, 8], "nfe": 1, "samples": 19 * (readout == "sample")}
    return {**head, "method": method, "readout": readout, "metrics": metrics}


@pytest.fixture
def table() -> dict:
    rows = [
        row("gaussian", "mean", crps=entry(0.06, 0.05, 0.07), psnr=entry(20)),
        row(
            "model",
            "sample",
            crps=entry(0.05),
            psnr=entry(19),
            coverage_50=entry(0.4, 0.3, 0.5),
            coverage_90=entry(0.8),
        ),
    ]
    points = [{"predicted": 0.1, "error": 0.2, "count": 900}, {"predicted": 0.2, "error": 0.4, "count": 99},
              {"predicted": 0.9, "error": 0.9, "count": 0.5}]  # fmt: skip
    return {"rows": rows, "calibration": [{**rows[1], "deviations": points}]}


def cost(table: dict) -> dict:
    return {"rows": [{**row, "seconds_per_image": 0.1 * 10**i} for i, row in enumerate(table["rows"])]}


def test_reliability_is_of_rows_that_sample(table):
    [curve] = reliability_figure(table).axes[0].containers
    assert curve[0].get_xydata().tolist() == [[50, 40], [90, 80]]
    assert reliability_figure({"rows": table["rows"][:1]}) is None


def test_errors_are_drawn_over_deviations_but_where_there_are_too_few_pixels(table):
    axes = deviation_figure(table).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0.1, 0.2], [0.2, 0.4]]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    diagonal = axes.lines[-1].get_xydata()
    assert (diagonal[:, 0] == diagonal[:, 1]).all()
    assert deviation_figure({"rows": []}) is None
    table["calibration"][0]["deviations"] = []
    assert deviation_figure(table) is None


def test_quality_is_drawn_over_seconds(table):
    [(place, figure)] = cost_figures(table, cost(table)).items()
    axes = figure.axes[0]
    assert place == "8x8" and axes.get_ylabel().startswith("CRPS") and axes.get_xscale() == "log"
    found = {c.get_label(): c[0].get_xydata().tolist() for c in axes.containers}
    assert found == {"gaussian mean": [[0.1, 0.06]], "model sample x19": [[1.0, 0.05]]}
    for one in table["rows"]:
        del one["metrics"]["crps"]
    assert "PSNR" in cost_figures(table, cost(table))["8x8"].axes[0].get_ylabel()
    assert cost_figures(table, {"rows": []}) == {}


def test_every_degradation_has_its_own_quality(table):
    table["rows"].append(row("model", "mean", "rain", psnr=entry(12)))
    assert list(cost_figures(table, cost(table))) == ["8x8, coins", "8x8, rain"]


def test_the_loss_is_smoothed_as_it_is_drawn():
    """The mean of a power of two per record over a window is, of logarithms, its middle; of losses of both signs, their mean."""
    records = [{"step": i, "loss": 2.0**-i} for i in range(60)] + [{"step": 60, "validation": {}}]
    axes = training_figure(records).axes[0]
    assert axes.get_yscale() == "log" and len(axes.lines[0].get_xdata()) == 60
    assert axes.lines[1].get_ydata()[30] == pytest.approx(2.0**-30)
    axes = training_figure([{"step": i, "loss": i - 30.0} for i in range(60)]).axes[0]
    assert axes.get_yscale() == "linear" and axes.lines[1].get_ydata()[40] == pytest.approx(10)
    assert len(training_figure(records[:3]).axes[0].lines) == 1 and training_figure([]) is None


def test_the_headline_has_the_error_of_the_coverage_and_the_time(table):
    table["rows"][1]["metrics"]["ssim"] = entry(0.5123, 0.5023, 0.5223)
    table["best"] = [{"run": "toy", "degradation": "coins", "grid": [8, 8], "metric": "crps", "alike": [],
                      "best": {"method": "model", "readout": "sample"}}]  # fmt: skip
    found = headline(table, cost(table))
    assert found.head == ("PSNR, dB", "SSIM", "CRPS", "coverage error, %", "calls", "time, s")
    [(_, _, first), (method, readout, cells)] = found.groups[""]
    assert (method, readout) == ("model", "sample")
    assert [c.value for c in cells] == ["19.0", ".512", ".0500", "10.0", "1", "1"]
    assert (cells[1].half, cells[2].rank, first[2].rank, first[3].value) == ("±.010", "best", "", "–")
    table["rows"].append(row("model", "mean", "rain", psnr=entry(12)))
    assert list(headline(table, cost(table)).groups) == ["coins, 8x8", "rain, 8x8"]
