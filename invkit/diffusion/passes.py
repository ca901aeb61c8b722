"""Which samples are drawn, and how much of them at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from invkit.core.device import cells_at_once


def ignore(count: int) -> None:
    """A listener to network calls that does nothing."""


@dataclass(frozen=True)
class Passes:
    """Samples `first`, `first + 1`, ... of each image; the same ones whether or not those before are drawn."""

    first: int = 0
    at_once: int | None = None  # images or tiles in the network at once; None: by the memory of the device
    called: Callable[[int], None] = ignore  # receives the number of images or tiles after each network call

    def most(self, device: torch.device, pixels: int) -> int:
        """Number of images or tiles of so many pixels that the network may process at once; at least one."""
        return self.at_once or max(1, cells_at_once(device) // pixels)


ALL = Passes()
