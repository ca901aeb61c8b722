"""Progress of a long computation as one line of text, with the time left."""

import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int], object]  # is called with what is done, and the total

EVERY = 10.0  # seconds between lines; on a terminal a line is replaced twice per second


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(8.2), duration(100), duration(5400), duration(200000)
    ('8 seconds', '1.7 minutes', '1.5 hours', '2.3 days')
    """
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * unit or (unit == 3600 and seconds >= unit):
            return f"{seconds / unit:.1f} {name}"
    return f"{max(1, round(seconds))} seconds"


class TextProgress:
    """Prints lines such as `sampling: 12 %, 3.5 minutes left` to stderr; a computation of a few seconds prints none."""

    def __init__(
        self,
        label: str,
        write: Callable[[str], object] = lambda text: sys.stderr.write(text),
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._write, self._clock = label, write, clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._start: tuple[float, int] | None = None  # the time, and what was done by then
        self._last = self._width = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._start is None:
            self._start, self._last = (now, done), now
        elif now - self._last >= (EVERY / 20 if self._terminal else EVERY):
            began, before = self._start
            left = (total - done) * (now - began) / max(done - before, 1)
            self._last = now
            self._show(f"{self._label}: {100 * done // max(total, 1)} %, {duration(left)} left")
        if done >= total and self._width:
            self._show("")

    def _show(self, text: str) -> None:
        """Replace the line on a terminal; write a line elsewhere."""
        if self._terminal:
            self._write(f"\r{text:<{int(self._width)}}" + "\r" * (not text))
            self._width = len(text)
        elif text:
            self._write(text + "\n")


def as_progress(progress: "bool | Progress | None", label: str) -> Progress:
    """The function of an argument `progress`: True prints, None and False do nothing."""
    if progress is True:
        return TextProgress(label)
    if callable(progress):
        return progress
    if progress in (None, False):
        return lambda done, total: None
    raise ValueError(f"progress should be True, False or a function of two numbers, got {type(progress).__name__}")
