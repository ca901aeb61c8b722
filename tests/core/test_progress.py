"""What a long computation says of itself."""

import pytest
from support.messages import raises

from invkit.core.progress import TextProgress, as_progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (3599, "60.0 minutes"), (3600, "1.0 hours"), (1e6, "11.6 days")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def run():
    """Progress by 10 of 100 every `pace` seconds, of which some is done before."""

    def run(pace, before=0, terminal=False):
        now, lines = [0.0], []
        progress = TextProgress("sampling", lines.append, terminal, lambda: now[0])
        for done in range(before + 10, 101, 10):
            progress(done, 100)
            now[0] += pace
        return lines

    return run


def test_the_time_left_follows_from_what_was_done_since_the_start(run):
    assert run(6.0)[0] == "sampling: 30 %, 42 seconds left\n"  # 20 of 100 took 12 seconds
    assert run(6.0, before=50)[0] == "sampling: 80 %, 12 seconds left\n"  # what was done before took no time
    assert len(run(6.0)) == 4
    assert run(0.5) == []  # ready within seconds


def test_on_a_terminal_one_line_is_replaced(run):
    lines = run(1.0, terminal=True)
    assert len(lines) == 10 and all(line.startswith("\r") and "\n" not in line for line in lines)
    assert lines[-1].strip() == "" and lines[-1].endswith("\r")


def test_what_progress_may_be(capsys):
    seen = []
    as_progress(lambda done, total: seen.append((done, total)), "x")(1, 2)
    assert seen == [(1, 2)]
    for quiet in (None, False):
        as_progress(quiet, "x")(1, 2)
    assert isinstance(as_progress(True, "x"), TextProgress)
    with raises(ValueError, "progress", "str"):
        as_progress("yes", "x")
