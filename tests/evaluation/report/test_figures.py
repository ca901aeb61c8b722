import pytest

from invkit.evaluation.report.figures import cost_figures, deviation_figure, reliability_figure


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
