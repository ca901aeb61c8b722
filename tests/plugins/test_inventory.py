import json
import re
from dataclasses import replace

import pytest
from support.messages import raises

from invkit.cli.doctor import doctor_report, doctor_text, minutes
from invkit.core.errors import PluginError, RecipeError
from invkit.plugins.inventory import description_text, descriptions, listing, listing_text
from invkit.plugins.loader import registry
from invkit.plugins.registry import Failure, Origin


@pytest.fixture
def found(stand_ins):
    origin = Origin("some", "invkit-some", "1.2")
    return replace(
        stand_ins,
        origins={("degradation", "sparse-random"): origin},
        failures=(
            Failure(Origin("bad", "invkit-bad", "0.1"), "ImportError: no"),
            Failure(origin, "no class", ("degradation", "haze")),
        ),
        duplicates={("degradation", "grain"): (Origin("a", "invkit-a", "1"), Origin("b", "invkit-b", "1"))},
    )


def test_doctor():
    report = doctor_report("9.9")
    text = doctor_text(report)
    assert json.loads(json.dumps(report)) == report
    for word in ("9.9", "python", "torch", report["device"], "cores", "memory_gib"):
        assert word in text
    assert report["memory_gib"] > 0 and report["disk_free_gib"] > 0
    assert re.fullmatch(r"\d+ GFLOP/s on the CPU: the quick start trains in about [\d.]+ \w+", report["speed"])
    assert minutes(84.0) == "10.4 minutes" and ("slow " in text) == (report["device"] == "cpu")
    assert "loaded" in report["plugins"].values()


def test_listing(found):
    data = listing(found)
    rows = data["plugins"]
    some = {"plugin": "some", "distribution": "invkit-some", "version": "1.2"}
    assert rows[0] == {
        "name": "sparse-random", "kind": "degradation", **some, "state": "ok", "why": None, "summary": "Some pixels.",
    }  # fmt: skip
    assert [(row["name"], row["kind"], row["distribution"], row["state"]) for row in rows[1:]] == [
        ("grain", "degradation", "invkit-a", "conflict"),
        ("grain", "degradation", "invkit-b", "conflict"),
        ("bad", "plugin", "invkit-bad", "failed"),
        ("haze", "degradation", "invkit-some", "failed"),
    ]
    assert listing_text(data).splitlines() == [
        "name           kind         distribution  version  state",
        "sparse-random  degradation  invkit-some   1.2      ok        Some pixels.",
        *[
            f"grain          degradation  invkit-{x}      1        conflict  {found.conflict('degradation', 'grain')}"
            for x in "ab"
        ],
        "bad            plugin       invkit-bad    0.1      failed    ImportError: no",
        "haze           degradation  invkit-some   1.2      failed    no class",
    ]


def test_descriptions(stand_ins, found):
    text = description_text(descriptions(found, "sparse-random"))
    assert text.splitlines()[0] == "degradation sparse-random, from some (invkit-some 1.2)"
    assert "fraction: float (default 0.1, > 0, <= 1)" in text
    assert "share of pixels observed" in text
    both = description_text(descriptions(found, "both"))
    assert "first: Degradation (required)" in both
    assert "others: tuple[Degradation, ...] (default ())" in both
    assert "test_root: str | None (default None)" in description_text(descriptions(registry(), "images"))
    with raises(PluginError, "'grain'", "a (invkit-a 1)", "b (invkit-b 1)", "INVKIT_PLUGINS"):
        descriptions(found, "grain")
    json.dumps(descriptions(found, "heun"))
    with raises(RecipeError, "'sparse-randm'", "'sparse-random'"):
        descriptions(stand_ins, "sparse-randm")
    with raises(PluginError, "plugin bad", "ImportError: no"):
        descriptions(found, "sparse-randm")
