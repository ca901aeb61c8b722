"""Collects what the tests of reliability tried, and writes it into `docs/results/reliability.md` where INVKIT_RECORD is set."""

import os
from collections.abc import Callable

import pytest
from support import DOCS

PAGE = DOCS / "results/reliability.md"
BEGIN, END = "<!-- figures: written by the tests -->\n", "<!-- end of figures -->\n"
HEAD = ["| what | tried | failed |", "| --- | ---: | ---: |"]

_rows: dict[str, tuple[int, int]] = {}


@pytest.fixture
def figure() -> Callable[[str, int, int], None]:
    """Notes how many of what were tried and how many failed; the last call of a name with the most trials stands."""

    def figure(what: str, tried: int, failed: int) -> None:
        if tried >= _rows.get(what, (0, 0))[0]:
            _rows[what] = tried, failed

    return figure


def rewritten(page: str, rows: dict[str, tuple[int, int]]) -> str:
    """A page with a table of these rows, and of those that it has already under other names, between the marks."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    kept = {line.split("|")[1].strip(): line for line in table.splitlines()[2:] if line.startswith("|")}
    kept |= {what: f"| {what} | {tried:,} | {failed:,} |" for what, (tried, failed) in rows.items()}
    return (
        before + BEGIN + "".join(f"{line}\n" for line in [*HEAD, *(kept[what] for what in sorted(kept))]) + END + after
    )


def pytest_sessionfinish() -> None:
    if os.environ.get("INVKIT_RECORD") and _rows:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), _rows), "utf-8")
