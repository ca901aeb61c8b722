"""SIGINT, SIGTERM and SIGUSR1 as requests to save the state and stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from invkit.core.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # sent by Ctrl-C, by a shutdown and at the time limit of a queue


class _StopError(KeyboardInterrupt):
    """Stops the running block; no `except Exception` catches it."""


class Stop:
    """A stop request: stops the running block at once, or is deferred within `hold`. Calling it tells if one was received."""

    def __init__(self) -> None:
        self.requested = self.deferred = False

    def __call__(self) -> bool:
        return self.requested

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Defer requests in this block, which has to query them; a pending one takes effect at its end."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        if self.requested:
            raise _StopError

    @contextmanager
    def release(self) -> Iterator[None]:
        """Within `hold`, a block that a request ends at once without an error; the code after it has to query the request."""
        self.deferred = False
        try:
            yield
        except _StopError:
            pass
        finally:
            self.deferred = True

    def receive(self, number: int, _: object = None) -> None:
        """Handle a signal: a second Ctrl-C stops at once even if deferred; other repetitions have no effect."""
        repeated, self.requested = self.requested, True
        if repeated and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not repeated and not self.deferred:
            raise _StopError


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Handle the stop signals in this block; raises Interrupted if one stopped it."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield stop
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, stop.receive) for number in numbers}
    try:
        yield stop
    except _StopError:
        raise Interrupted("stopped; the state is saved, and the same command resumes from it") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
