import io
import json
import math

import pytest
from rich.console import Console

from invkit.core.errors import PluginError
from invkit.testing import Check, Report
from invkit.testing.report import Worst

GOOD = Check("adjoint", True, 1e-15, 1e-12, "on 8x8")
BAD = Check("pinv", False, math.inf, 1e-4, "A A+ A = A")
FAULT = Check("shapes", False, 2, 0, "forward raised [red]IndexError")


def test_a_report_says_what_failed():
    report = Report("blur", (GOOD, BAD, FAULT))
    assert report.failed == ("pinv", "shapes") and not report.passed
    with pytest.raises(PluginError) as caught:
        report.raise_for_failures()
    assert str(caught.value).splitlines() == [
        "blur fails 2 of 3 checks",
        "pinv: inf, at most 0.0001 allowed: A A+ A = A",
        "shapes: forward raised [red]IndexError",
    ]
    assert Report("blur", (GOOD,)).passed and Report("blur", (GOOD,)).raise_for_failures() is None


def test_a_report_is_json_text_and_a_table():
    report = Report("blur", (GOOD, BAD, FAULT))
    data = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert [check["figure"] for check in data["checks"]] == [1e-15, None, 2] and data["passed"] is False
    assert [line.split()[1] for line in str(report).splitlines()[1:]] == ["ok", "FAILED", "FAILED"]
    console = Console(width=120, file=io.StringIO())
    console.print(report)
    text = console.file.getvalue()
    assert "FAILED" in text and "1e-12" in text and "[red]IndexError" in text


def test_the_worst_is_relative_to_its_tolerance():
    worst = Worst()
    worst.record(1e-7, 1e-5, "a", "float32")
    worst.record(1e-11, 1e-12, "b", "float64")
    worst.record(2e-7, 1e-5, "c", "float32")
    check = worst.check("adjoint")
    assert (check.passed, check.figure, check.detail) == (False, 1e-11, "float32 2e-07; float64 1e-11; b")


def test_what_is_not_a_number_fails():
    worst = Worst()
    worst.record(math.nan, 1e-5, "a")
    worst.record(0.0, 1e-5, "b")
    assert not worst.check("adjoint").passed
    assert Worst().check("adjoint").figure is None
    worst.fault("oh")
    worst.fault("no")
    assert worst.check("adjoint") == Check("adjoint", False, 2, 0, "oh (and 1 more)")
