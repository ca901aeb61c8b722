import csv
import io
import json

import pytest
from support.messages import raises

from invkit.evaluation.combine import merge_runs
from invkit.evaluation.table import cell, directions, mark, render

ABSENT = "19 samples have no 95 % interval; 39 have"


def entry(value: float | None, lo: float | None = None, hi: float | None = None, **more: object) -> dict:
    reason = {"reason": ABSENT} if value is None else {}
    return {"value": value, "lo": lo, "hi": hi, **reason, **more}


def row(method: str, readout: str, metrics: dict, run: str = "toy", grid: tuple[int, int] = (32, 32)) -> dict:
    return {
        "run": run, "degradation": "coins", "method": method, "readout": readout, "grid": list(grid), "nfe": 11,
        "samples": 19 if readout == "sample" else 0, "metrics": metrics,
    }  # fmt: skip


def difference(method: str, metric: str, *values: float) -> dict:
    head = {"run": "toy", "method": method, "readout": "sample", "grid": [32, 32], "against": "gaussian sample"}
    return {**head, "metric": metric, **entry(*values)}


@pytest.fixture
def table() -> dict:
    return {
        "schema": "invkit.table/1",
        "images": 128,
        "rows": [
            row("gaussian", "sample", {"psnr": entry(18.0, 17.5, 18.5), "crps": entry(0.053, 0.05, 0.056)}),
            row("model|x", "sample", {"psnr": entry(19.0, 18.5, 19.5), "crps": entry(0.06, 0.057, 0.063)}),
            row("<b>", "sample", {"psnr": entry(17.0, 16.5, 17.5), "crps": entry(None), "spread_skill": entry(1.01)}),
        ],
        "differences": [
            difference("model|x", "psnr", 1.0, 0.8, 1.2),
            difference("model|x", "crps", 0.007, 0.005, 0.009),
            difference("<b>", "psnr", -1.0, -2.1, 0.1),
        ],
        "protocol": {"paired_to": "gaussian", "better": {"psnr": "higher", "crps": "lower", "spread_skill": None}},
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((21.04, 20.73, 21.35), "21.04 ±0.31"),
        ((0.05301, 0.0519, 0.0541), "0.0530 ±0.0011"),
        ((105.2, 60.1, 150.3), "105 ±45"),
        ((21.04, 20.5, 21.2), "21.04 [20.50, 21.20]"),
        ((1.05e-4, 0.95e-4, 1.15e-4), "0.000105 ±0.000010"),
        ((0.9012,), "0.9012"),
        ((1.0, 1.0, 1.0), "1"),
    ],
)
def test_a_cell_shows_two_digits_of_its_interval(values, text):
    assert cell(entry(*values)) == text


@pytest.mark.parametrize(
    ("better", "values", "expected"),
    [
        ("higher", (1.0, 0.5, 1.5), "▲"),
        ("higher", (-1.0, -1.5, -0.5), "▼"),
        ("lower", (-0.01, -0.02, -0.001), "▲"),
        ("lower", (0.01, 0.001, 0.02), "▼"),
        (None, (0.1, 0.05, 0.2), "*"),
        ("higher", (1.0, -0.1, 2.0), ""),
        ("higher", (0.0, 0.0, 0.0), ""),
        ("higher", (1.0, None, None), ""),
    ],
)
def test_a_mark_says_what_the_difference_means(better, values, expected):
    assert mark(entry(*values), better) == expected  # of an earlier version, without p
    assert mark(entry(*values, p=0.06), better) == ""
    assert mark(entry(*values, p=0.04), better) == (expected or "▲" * (values[0] > 0 and values[1] is not None))


def test_the_rule_of_the_marks_is_stated_with_the_number_of_comparisons(table):
    assert "the interval of the paired difference excludes 0" in render(table)
    new = [{**one, "p": p, "tests": 38} for one, p in zip(table["differences"], (0.01, 0.2, None), strict=True)]
    text = " ".join(render({**table, "differences": new}).split())
    assert "with a simultaneous confidence of 95% for all 38 paired differences" in text
    assert "0.0600 ±0.0030 ▼" not in text and "19.00 ±0.50 ▲" in text


def test_what_is_better_is_known_to_the_table_and_to_several_in_one(table):
    assert directions(table) == {"psnr": "higher", "crps": "lower", "spread_skill": None}
    other = {**table, "protocol": {"better": {"brightness": "lower"}}}
    assert directions(merge_runs([table, other])) == directions(table) | {"brightness": "lower"}
    assert "19.00 ±0.50 *" in render({**table, "protocol": {}})  # written by a version that did not say


@pytest.mark.parametrize("fmt", ["table", "md", "html"])
def test_text_shows_every_value_its_mark_and_why_one_is_missing(table, fmt):
    text = render(table, fmt)
    for part in ("18.00 ±0.50", "19.00 ±0.50 ▲", "0.0600 ±0.0030 ▼", "–¹", f"¹ {ABSENT}", "1.01", "128 test images"):
        assert part in text
    assert "17.00 ±0.50 ▲" not in text
    assert "17.00 ±0.50 ▼" not in text


def test_the_number_of_groups_is_stated(table):
    few, many = ({**table, "protocol": {"groups": {"32x32": count}}} for count in (3, 14))
    assert "128 test images in 14 independent groups; ± half of the 95 % interval" in render(many)
    assert "128 test images in 3 independent groups; no intervals and no marks with fewer than 6" in render(few)
    assert "in 3 to 14 independent groups; ± half" in render({**table, "protocol": [few["protocol"], many["protocol"]]})


def test_a_narrow_terminal_gets_several_tables(table):
    wide, narrow = render(table, width=200), render(table, width=60)
    assert sum("crps" in line for line in wide.splitlines()) == 1
    assert max(map(len, narrow.splitlines()[:12])) <= 60
    heads = [line for line in narrow.splitlines() if line.startswith("method")]
    assert len(heads) > 1
    for name in ("psnr", "crps", "spread_skill"):
        assert sum(name in head for head in heads) == 1


def test_a_brief_text_is_one_table_with_a_legend_of_three_lines(table):
    for row in table["rows"]:
        row["metrics"] |= {f"m{i}": entry(0.5, 0.4, 0.6) for i in range(9)}
    text = render(table, width=80, brief=True)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and sum(line.startswith("method") for line in lines) == 1
    assert "psnr" in lines[0] and "crps" in lines[0] and "m8" not in text and "19.00 ±0.50 ▲" in text
    legend = lines[lines.index("") + 1 :]
    assert len(legend) <= 4 and legend[0].startswith("128 test images; ± half") and "[ ]" not in text
    assert "▲ better, ▼ worse, * other than gaussian" in text and ABSENT in " ".join(legend)
    shown = sum(name in lines[0] for name in (*table["rows"][2]["metrics"],))
    assert f"{12 - shown} more metrics and all notes: invkit eval RUN --wide" in " ".join(legend)
    assert render(table, width=400, brief=True) == render(table, width=400)


@pytest.mark.parametrize("width", range(40, 121, 8))
def test_nothing_is_cut_short_at_any_width(table, width):
    text = render(table, width=width)
    assert "…" not in text
    for part in ("18.00 ±0.50", "19.00 ±0.50 ▲", "0.0600 ±0.0030 ▼", "spread_skill"):
        assert text.count(part) == 1


def test_columns_that_say_the_same_everywhere_are_left_out(table):
    assert "32x32" not in render(table)
    table["rows"][0]["grid"] = [64, 64]
    assert "32x32" in render(table)
    assert "64x64" in render(table)


def test_markup_in_names_is_text(table):
    assert "<b>" not in render(table, "html")
    assert "&lt;b&gt;" in render(table, "html")
    lines = [line.replace("\\|", "") for line in render(table, "md").splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_json_is_the_table_and_csv_has_a_line_for_each_value(table):
    assert json.loads(render(table, "json")) == table
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert len(lines) == 7
    first = {
        key: lines[0][key] for key in ("method", "grid", "nfe", "samples", "metric", "value", "lo", "hi", "reason")
    }
    assert [*first.values()] == ["gaussian", "32x32", "11", "19", "psnr", "18.0", "17.5", "18.5", ""]
    assert [line["reason"] for line in lines if not line["value"]] == [ABSENT]


def test_an_unknown_format_is_refused(table):
    with raises(ValueError, "xml", "table", "json", "csv", "md", "html"):
        render(table, "xml")


def test_runs_merge_into_one_table(table):
    other = json.loads(json.dumps(table).replace('"toy"', '"other"'))
    merged = merge_runs([table, other])
    assert len(merged["rows"]) == 6
    assert len(merged["differences"]) == 6
    assert "other" in render(merged)
    assert merge_runs([table]) == table
