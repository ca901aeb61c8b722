import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.messages import missing

from invkit.core.keys import Keys
from invkit.evaluation.cases import Case, Estimates, Examples
from invkit.evaluation.evaluator import Evaluation
from invkit.evaluation.report.page import write_report
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a browser would find: text, addresses, and tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags, self.open, self.crossed = "", [], set(), [], []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def entry(value: float | None, lo: float | None = None, hi: float | None = None) -> dict:
    return {"value": value, "lo": lo, "hi": hi, **({"reason": "needs samples"} if value is None else {})}


@pytest.fixture
def result() -> Evaluation:
    keys = Keys.of(0, "report", range(2))
    truth = keys.uniform("x", 3, 8, 8) * 2 - 1
    mask = Mask(keys.uniform("mask", 1, 8, 8) < 0.5)
    samples = torch.stack([0 * truth + 0.2, 0 * truth - 0.2])
    estimates = {
        "gaussian": Estimates(0 * truth, None, None),
        "model": Estimates(0 * truth, samples[0], samples.std(0)),
    }
    cases = (Case(4, "best", {"model": "20.1 dB"}), Case(0, "", {}))
    shown = Examples("of 9 test images, by crps", cases, Measurement(mask, mask.forward(truth)), truth, estimates)
    head = {"run": "<i>toy</i>", "degradation": "coins", "grid": [8, 8], "nfe": 1}
    rows = [
        {**head, "method": "gaussian", "readout": "mean", "samples": 0, "metrics": {
            "psnr": entry(18.0, 17.5, 18.5), "coverage_50": entry(None)}},
        {**head, "method": "model", "readout": "sample", "samples": 19, "metrics": {
            "psnr": entry(19.0, 18.5, 19.5), "coverage_50": entry(0.49, 0.45, 0.53), "coverage_90": entry(0.9)}},
    ]  # fmt: skip
    differences = [
        {"run": "<i>toy</i>", "method": "model", "readout": "sample", "grid": [8, 8], "against": "gaussian mean",
         "metric": "psnr", **entry(1.0, 0.8, 1.2)}
    ]  # fmt: skip
    protocol = {
        "images": 2, "samples": 19, "seed": 5, "degradation": {"name": "coins", "share": 0.3}, "noise": 0.0,
        "interval": "95 % percentile bootstrap", "groups": {"8x8": 2}, "paired_to": "gaussian", "masks_sha256": {"8x8": "ab"},
        "better": {"psnr": "higher"},
        "conformal": "it holds 90%",
        "risk": "it bounds 10%",
    }  # fmt: skip
    cost_head = {
        "degradation": "coins",
        "method": "model",
        "readout": "sample",
        "grid": [8, 8],
        "nfe": 1,
        "samples": 19,
    }
    cost = {
        "schema": "invkit.cost/1",
        "device": "cpu",
        "rows": [{**cost_head, "seconds_per_image": 0.0123456, "warmed_up": True, "peak_memory_bytes": None}],
    }
    points = [{"predicted": 0.1, "error": 0.12, "count": 5}]
    conformal = {"factor": 1.8123, "images": 50, "held_out": 51, "coverage": entry(0.9, 0.8, 0.95)}
    nothing = {"factor": None, "images": 0, "held_out": 0, "coverage": entry(None), "reason": "needs 100 pictures"}
    risk = {"factor": 1.6543, "images": 50, "held_out": 51, "uncovered": entry(0.08, 0.07, 0.09)}
    none = {**nothing, "uncovered": entry(None), "reason": "needs 50 images"}
    calibration = [
        {**rows[1], "conformal": conformal, "risk": risk, "deviations": points},
        {**rows[1], "conformal": nothing, "risk": none, "deviations": []},
    ]  # fmt: skip
    table = {
        "schema": "invkit.table/1", "images": 2, "rows": rows, "differences": differences, "protocol": protocol,
        "calibration": calibration,
    }  # fmt: skip
    return Evaluation(table, cost, {}, [], {"8x8": lambda: shown}, {})


def page_of(folder: Path, result: Evaluation, record: dict | None = None) -> Page:
    write_report(folder / "report.html", folder, result, record or {}, ["Someone (2020). Something & more."])
    return Page((folder / "report.html").read_text("utf-8"))


def test_the_page_says_what_was_measured_how_and_at_what_cost(tmp_path, result):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    (tmp_path / "resolved.yaml").write_text("seed: 5  # <script>\n")
    page = page_of(tmp_path, result, {"versions": {"torch": "2.x"}})
    for part in (
        "coins", "share: 0.3", "seed 5", "19.00 ±0.50 ▲", "needs samples", "gaussian mean", "1.00 ±0.20", "0.0123",
        '"torch": "2.x"', "seed: 5  # <script>", "it holds 90%", "1.81", "0.900 [0.800, 0.950]", "needs 100 pictures",
        "it bounds 10%", "1.65", "0.080 ±0.010", "needs 50 images", "20.1 dB", "of 9 test images, by crps", "Image 4, best",
        "Someone (2020). Something & more.",
    ):  # fmt: skip
        assert part in page.text, part
    assert not missing(page.text, 2, 19, "95 %", "8x8")
    pictures, plots = (
        [a for a in page.addresses if a.startswith(f"data:image/{kind};")] for kind in ("png", "svg+xml")
    )
    assert len(pictures) == 1 + 2 * (
        2 + 2 + 4
    )  # the scale; of two images: measured and true, a mean, a mean with samples
    sizes = [Image.open(io.BytesIO(base64.b64decode(a.partition(",")[2], validate=True))).size for a in pictures]
    assert set(sizes[1:]) == {(8, 8)}
    assert len(plots) == 4  # reliability, deviations, training, quality
    assert all(b"<svg" in base64.b64decode(a.partition(",")[2], validate=True) for a in plots)


def test_the_page_needs_nothing_else_and_runs_only_its_own_script(tmp_path, result):
    page = page_of(tmp_path, result, {"note": "</pre><script>alert(1)</script>"})
    assert not page.tags & {"iframe", "i"}
    text = (tmp_path / "report.html").read_text("utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text
    assert "<i>toy</i>" in page.text
    assert "<script>alert(1)" in page.text
    assert page.crossed == page.open == []
    assert "url(" not in text


def test_what_is_missing_is_left_out(tmp_path, result):
    rows = [{**row, "metrics": {"psnr": row["metrics"]["psnr"]}} for row in result.table["rows"]]
    bare = replace(result.examples["8x8"](), estimates={}, rule="")
    for pictures, addresses in (
        ({"8x8": lambda: bare}, 6),
        ({}, 1),
    ):  # the icon; scale, measured and true of two images
        table = {**result.table, "rows": rows, "differences": [], "calibration": []}
        less = replace(result, table=table, cost={**result.cost, "rows": []}, examples=pictures)
        page = page_of(tmp_path, less)
        assert len(page.addresses) == addresses
        assert "±0.20" not in page.text and "0.900 [0.800" not in page.text  # differences; what is conformal
        assert page.crossed == page.open == []


def test_the_pictures_are_of_the_results_and_not_of_the_truth(tmp_path, result):
    shown = result.examples["8x8"]()
    one = shown.estimates["model"]

    def addresses(mean: torch.Tensor) -> list[str]:
        changed = replace(shown, estimates={"model": replace(one, mean=mean)})
        return page_of(tmp_path, replace(result, examples={"8x8": lambda: changed})).addresses

    pages = [addresses(mean) for mean in (one.mean, one.mean, one.mean + 0.5)]
    assert pages[0] == pages[1] != pages[2]


def test_no_state_of_pyplot_is_touched(tmp_path, result):
    from matplotlib import _pylab_helpers

    page_of(tmp_path, result)
    assert not _pylab_helpers.Gcf.figs
    assert json.dumps(result.table)  # and the table is as it was


def test_nothing_that_a_recipe_a_plugin_or_a_file_is_called_becomes_part_of_the_page(tmp_path, result):
    hostile = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"
    tags = page_of(tmp_path, result).tags
    table = json.loads(json.dumps(result.table).replace("coins", json.dumps(hostile)[1:-1]))
    table["protocol"]["degradation"] |= {"file": hostile, hostile: [hostile, {"name": hostile}]}
    for entry in (*table["rows"], *table["differences"], *table["calibration"]):
        entry["run"] = hostile
    for row in table["rows"]:
        row["metrics"][hostile] = {"value": None, "lo": None, "hi": None, "reason": hostile}
    cost = {**result.cost, "device": hostile, "rows": [{**result.cost["rows"][0], "method": hostile}]}
    (tmp_path / "resolved.yaml").write_text(f"data: {hostile}\n")
    page = page_of(tmp_path, replace(result, table=table, cost=cost), {hostile: hostile})
    assert page.crossed == [] and page.tags - tags <= {"br"} and page.scripts == 1
    assert all(address.startswith(("data:image/", "data:,")) for address in page.addresses)
    assert page.text.count("alert(1)") >= 20 and "{{ 7 * 7 }}" in page.text
