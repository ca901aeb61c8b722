"""Sound degradations pass every check; each mutant is caught by the checks meant for it, and by no other."""

import pytest
from mutants import MUTANTS, Ghost, SomePixels

from invkit.plugins import registry
from invkit.testing import check_degradation
from invkit.testing.kit import CHECKS

INSTALLED = sorted(registry().degradations)


@pytest.mark.parametrize("cls", [SomePixels, Ghost])
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


def test_there_are_degradations():
    assert {"sparse-random", "sparse-grid", "sparse-center"} <= set(INSTALLED)


@pytest.mark.parametrize("name", INSTALLED)
def test_installed(name):
    check_degradation(registry().degradations[name]).raise_for_failures()


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_installed_at_200_draws(name):
    check_degradation(registry().degradations[name], draws=200).raise_for_failures()
