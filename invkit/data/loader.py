"""Batches of images on the device: kept there if they fit, else read on demand or prefetched by worker processes."""

import atexit
import multiprocessing
import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from invkit.core.device import send
from invkit.core.errors import InvkitError, ResourceError
from invkit.core.grid import Grid
from invkit.data.base import Images

RESIDENT = 2 << 30  # largest number of bytes of images kept on a device
PREFETCH = 2  # batches that each worker reads in advance
Key = tuple[Grid, list[int]]  # a grid and the ids of a batch


def resident_bytes(device: torch.device) -> int:
    """Bytes of images to keep on a device: a quarter of its free memory; 0 on a CPU, where data sets keep images themselves."""
    return min(RESIDENT, torch.cuda.mem_get_info(device)[0] // 4) if device.type == "cuda" else 0


@dataclass(eq=False)
class _Resident:
    """Images kept on the device; each is read once, on first access."""

    images: Images
    values: Tensor  # (N, C, H, W)
    loaded: set[int] = field(default_factory=set)

    def take(self, ids: Sequence[int]) -> Tensor:
        if new := [i for i in dict.fromkeys(ids) if i not in self.loaded]:
            self.values[self._index(new)] = send(self.images[new], self.values.device)
            self.loaded.update(new)
        return self.values[self._index(ids)]

    def _index(self, ids: Sequence[int]) -> Tensor:
        return send(torch.tensor(ids), self.values.device)


class Feed:
    """Batches of images on a device, by grid and ids; the values do not depend on caching or prefetching.

    `plan` yields the batches that will be requested from now on. It only controls prefetching: for any other request the
    batch is read directly, and `plan` is called again. Raises the errors of the data sets, and ResourceError if a worker
    process was killed.
    """

    def __init__(
        self, images: Mapping[Grid, Images], device: torch.device, workers: int = 0,
        plan: Callable[[], Iterator[Key]] = lambda: iter(()), limit: int | None = None,
    ) -> None:  # fmt: skip
        self.images, self.device, self.plan = images, device, plan
        # Data sets hold open files, which only a forked process inherits.
        self.workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        self._resident: dict[Grid, _Resident] = {}
        left = resident_bytes(device) if limit is None else limit
        for grid, opened in images.items():
            size = len(opened) * grid.channels * grid.pixels * 4
            if size <= left:
                left -= size
                self._resident[grid] = _Resident(
                    opened, torch.empty(len(opened), *grid.picture, dtype=torch.float32, device=device)
                )
        self._requested: deque[Key] = deque()
        self._prefetched: Iterator[Tensor | InvkitError] | None = None
        # Workers ignore SIGTERM, with which Python ends child processes at exit, and would block the exit.
        atexit.register(_close, weakref.ref(self))

    def take(self, grid: Grid, ids: list[int]) -> Tensor:
        """The images (B, C, H, W) of some ids."""
        if grid in self._resident:
            return self._resident[grid].take(ids)
        x = self._take_prefetched((grid, ids)) if self.workers else None
        if x is None:
            x = self.images[grid][ids]
            x = x.pin_memory() if self.device.type == "cuda" else x
        return send(x, self.device)

    def close(self) -> None:
        """End the worker processes; they start again at the next request."""
        self._prefetched = None
        self._requested.clear()

    def _take_prefetched(self, wanted: Key) -> Tensor | None:
        """The next batch of the plan, or of a new plan; None if it is not the wanted one."""
        for _ in range(2):
            if self._prefetched is None:
                self._prefetched = self._start()
            try:
                x = next(self._prefetched, None)
            except RuntimeError as error:
                if "worker (pid" not in str(error):
                    raise
                raise ResourceError(
                    "a process that reads images was killed; lower train.workers, or free memory"
                ) from None
            if x is not None and self._requested.popleft() == wanted:
                if isinstance(x, InvkitError):
                    raise x
                return x
            self.close()
        return None

    def _start(self) -> Iterator[Tensor | InvkitError]:
        loader: DataLoader[Tensor | InvkitError] = DataLoader(
            _Readable(self.images), batch_size=None, sampler=self._pending(), num_workers=self.workers,
            prefetch_factor=PREFETCH, collate_fn=_identity, worker_init_fn=_ignore_stops, multiprocessing_context="fork",
            pin_memory=self.device.type == "cuda", generator=torch.Generator(),
        )  # fmt: skip
        return iter(loader)

    def _pending(self) -> Iterator[Key]:
        """The batches of the plan that are not resident, recorded in the order in which the workers return them."""
        for key in self.plan():
            if key[0] not in self._resident:
                self._requested.append(key)
                yield key


def _close(feed: "weakref.ref[Feed]") -> None:
    if (own := feed()) is not None:
        own.close()


class _Readable(Dataset[Tensor | InvkitError]):
    """Batches by key, for torch's loader; an InvkitError is returned, not raised, so that it reaches the parent unchanged."""

    def __init__(self, images: Mapping[Grid, Images]) -> None:
        self.images = images

    def __getitem__(self, key: Key) -> Tensor | InvkitError:
        try:
            return self.images[key[0]][key[1]]
        except InvkitError as error:
            return error


def _identity(batch: Any) -> Any:
    return batch


def _ignore_stops(_: int) -> None:
    """Ignore stop signals in workers: the parent handles them and ends its workers."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
