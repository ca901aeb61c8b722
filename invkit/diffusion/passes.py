"""Which samples are drawn, and how much of them at once."""

from collections.abc import Callable
from dataclasses import dataclass


def ignore(count: int) -> None:
    """A listener to network calls that does nothing."""


@dataclass(frozen=True)
class Passes:
    """Samples `first`, `first + 1`, ... of each image; the same ones whether or not those before are drawn."""

    first: int = 0
    at_once: int = 256  # images or tiles in the network at once
    called: Callable[[int], None] = ignore  # receives the number of images or tiles after each network call


ALL = Passes()
