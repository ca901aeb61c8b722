"""Sound degradations pass every check; each mutant is caught by the checks meant for it, and by no other."""

import re
from importlib.util import find_spec

import pytest
import support.nonlinear_mutants  # noqa: F401  # adds to MUTANTS
import torch
from support import DOCS
from support.mutants import MUTANTS
from support.sound import Ghost, Response, SomePixels

from invkit.core.grid import Grid
from invkit.plugins.loader import registry
from invkit.testing import check_degradation
from invkit.testing.check import CHECKS

NEEDS_DEEPINV = pytest.mark.skipif(find_spec("deepinv") is None, reason="needs deepinv")
INSTALLED = [
    pytest.param(name, marks=[NEEDS_DEEPINV] if name == "deepinv" else [])
    for name in sorted(registry().names("degradation"))
]


@pytest.mark.parametrize("cls", [SomePixels, Ghost, Response])
def test_the_sound_ones_pass(cls):
    report = check_degradation(cls)
    assert report.passed, report
    assert [check.name for check in report.checks] == list(CHECKS)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_by_what_is_meant_for_it(name):
    cls, caught_by = MUTANTS[name]
    report = check_degradation(cls, draws=6)
    assert set(report.failed) == caught_by, report


def test_every_check_has_a_mutant_that_it_alone_catches():
    assert set(CHECKS) == {check for _, caught_by in MUTANTS.values() if len(caught_by) == 1 for check in caught_by}


def test_the_page_names_every_check():
    page = (DOCS / "reference/conformance.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == list(CHECKS)


def test_nothing_is_left_changed_and_nothing_varies():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second = (check_degradation(SomePixels, draws=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == second
    assert check_degradation(SomePixels, draws=4, seed=1).checks[2] != first.checks[2]


def test_grids_can_be_chosen_and_an_instance_is_checked_as_it_is():
    report = check_degradation(SomePixels(share=1.0), draws=3, grids=[Grid(8, 12, 2)])
    assert report.passed
    assert "8x12x2" in str(report) and "share=1.0" in str(report)


@pytest.mark.parametrize("name", INSTALLED)
def test_installed(name):
    check_degradation(registry().names("degradation")[name]).raise_for_failures()


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_installed_at_200_draws(name):
    check_degradation(registry().names("degradation")[name], draws=200).raise_for_failures()
