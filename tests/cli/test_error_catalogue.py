"""At least 60 mistakes: each ends with its exit code and one line that says what, where and how to go on."""

import errno
import shlex
from pathlib import Path

import pytest
from support import runs
from support.mistakes import GROUPS, LATER, page, prepare

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained_run):
    """The files that the mistakes name, beside a small run."""
    own = tmp_path_factory.mktemp("mistakes")
    (own / "recipe.yaml").write_text(runs.RECIPE)
    prepare(own, trained_run)
    return own


@pytest.mark.parametrize("group", GROUPS)
def test_every_mistake_is_answered_in_one_line(invkit, folder, monkeypatch, group):
    monkeypatch.chdir(folder)
    for typed, code, printed in GROUPS[group]:
        found, _, err = invkit(*shlex.split(typed))
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (found, "Traceback" in err) == (code, False), (typed, err)
        assert any(printed.replace("HERE", str(folder)) in line for line in lines), (typed, err)


def test_there_are_many_and_the_page_has_them_all():
    typed = [one.typed for mistakes in GROUPS.values() for one in mistakes]
    assert len(set(typed)) == len(typed) >= 60
    assert (
        PAGE.read_text("utf-8") == page()
    )  # written by: python -c "from support.mistakes import page; print(page(), end='')"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("the disk is full", OSError(errno.ENOSPC, "No space left on device")),
        ("out of memory", MemoryError()),
    ],
)
def test_what_happens_during_a_run_is_answered_too(invkit, folder, monkeypatch, what, error):
    monkeypatch.chdir(folder)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("invkit.experiment.run.evaluate_run", fail)
    code, _, err = invkit("eval", "run", "eval.images=2")
    assert code == LATER[what][0] and LATER[what][1] in err.splitlines()[-1], err


def test_of_a_budget_and_steps_the_later_applies(invkit, folder, monkeypatch):
    """`train.budget` on a recipe with `train.steps` works, and says in one line what it replaces."""
    monkeypatch.chdir(folder)
    code, out, err = invkit("show", "recipe.yaml", "train.budget=10m")
    assert code == 0 and "budget: 10m" in out and "steps: null" in out
    assert err == "warning: command line: train.budget=10m replaces train.steps=6\n"
    code, out, err = invkit("show", "recipe.yaml", "train.budget=10m", "train.steps=7")
    assert code == 0 and "steps: 7" in out and "replaces train.budget=10m" in err


def test_a_wrong_column_is_reported_before_anything_is_computed(invkit, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("invkit.experiment.run.evaluate_run", lambda *_: pytest.fail("computed"))
    code, _, err = invkit("eval", "run", "eval.images=2", "--columns", "psnr,crbs")
    assert code == 2 and "did you mean 'crps'?" in err
