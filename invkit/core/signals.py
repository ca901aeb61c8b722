"""SIGINT, SIGTERM and SIGUSR1 as a request to stop with everything saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from invkit.core.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # what a person, a machine that goes down and a queue's time limit send


class _StopError(KeyboardInterrupt):
    """Ends what runs, past everything that catches errors."""


class Stop:
    """Whether somebody asked to stop. A request ends what runs at once, except while it is held back."""

    def __init__(self) -> None:
        self.asked = self.held = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def hold(self) -> Iterator[None]:
        """In this block requests wait until they are asked for; what is left of them ends what runs after it."""
        self.held = True
        try:
            yield
        finally:
            self.held = False
        if self.asked:
            raise _StopError

    @contextmanager
    def release(self) -> Iterator[None]:
        """Inside of `hold`, a block that a request ends at once; what follows it has to ask."""
        self.held = False
        try:
            yield
        except _StopError:
            pass
        finally:
            self.held = True

    def receive(self, number: int, _: object = None) -> None:
        """A signal came: a second Ctrl-C ends at once, held back or not; other repetitions change nothing."""
        again, self.asked = self.asked, True
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not again and not self.held:
            raise _StopError


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Receive the signals in this block; raises Interrupted, at the end of it, where one stopped what ran."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield stop
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, stop.receive) for number in numbers}
    try:
        yield stop
    except _StopError:
        raise Interrupted("stopped; what was done is saved, and the same command goes on from there") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
