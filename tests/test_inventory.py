import json
from dataclasses import replace

import pytest

from invkit.errors import PluginError, RecipeError
from invkit.inventory import description_text, descriptions, doctor_report, doctor_text, listing, listing_text
from invkit.plugins import Failure, Origin


@pytest.fixture
def found(stand_ins):
    origin = Origin("some", "invkit-some", "1.2")
    return replace(
        stand_ins,
        origins={("degradation", "sparse-random"): origin},
        failures=(Failure("bad", "invkit-bad", "ImportError: no"),),
    )


def test_doctor():
    report = doctor_report("9.9")
    text = doctor_text(report)
    assert json.loads(json.dumps(report)) == report
    for word in ("9.9", "python", "torch", report["device"], "cores", "memory_gib"):
        assert word in text
    assert report["memory_gib"] > 0
    assert "loaded" in report["plugins"].values()


def test_listing(found):
    data = listing(found)
    assert data["plugins"] == [
        {"kind": "degradation", "name": "sparse-random", "from": "some (invkit-some 1.2)", "summary": "Some pixels."}
    ]
    assert listing_text(data).splitlines() == [
        "degradation  sparse-random  some (invkit-some 1.2)  Some pixels.",
        "failed: plugin bad (invkit-bad): ImportError: no",
    ]


def test_descriptions(stand_ins, found):
    text = description_text(descriptions(found, "sparse-random"))
    assert text.splitlines()[0] == "degradation sparse-random, from some (invkit-some 1.2)"
    assert "fraction: float (default 0.1, > 0, <= 1)" in text
    assert "share of pixels observed" in text
    assert "first: Degradation (required)" in description_text(descriptions(found, "both"))
    json.dumps(descriptions(found, "heun"))
    with pytest.raises(RecipeError, match="did you mean 'sparse-random'"):
        descriptions(stand_ins, "sparse-randm")
    with pytest.raises(PluginError, match="failed to load: plugin bad"):
        descriptions(found, "sparse-randm")
