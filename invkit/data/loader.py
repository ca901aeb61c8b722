"""From data sets to the device: pictures that fit stay there, others are read when needed, or ahead by processes."""

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

from invkit.core.errors import InvkitError, ResourceError
from invkit.core.grid import Grid
from invkit.data.base import Images

RESIDENT = 2 << 30  # bytes of pictures that are kept on a device at most
AHEAD = 2  # batches that each process reads ahead

Key = tuple[Grid, list[int]]  # a grid and the ids of a batch


def room(device: torch.device) -> int:
    """Bytes of pictures to keep on a device: a quarter of what is free. None on a CPU, where data sets keep their own."""
    return min(RESIDENT, torch.cuda.mem_get_info(device)[0] // 4) if device.type == "cuda" else 0


@dataclass(eq=False)
class _Resident:
    """Pictures that have been asked for once, on the device: none is read twice, and none before it is wanted."""

    images: Images
    pictures: Tensor  # (N, C, H, W)
    held: set[int] = field(default_factory=set)

    def take(self, ids: Sequence[int]) -> Tensor:
        if new := [i for i in dict.fromkeys(ids) if i not in self.held]:
            self.pictures[self._index(new)] = self.images[new].to(self.pictures)
            self.held.update(new)
        return self.pictures[self._index(ids)]

    def _index(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, device=self.pictures.device)


class Feed:
    """Batches of pictures on a device, by grid and ids; how they got there changes no bit of them.

    `plan` says what will be asked from now on. It only tells what to read ahead: where something else is asked, that is
    read, and the plan is made anew. Raises what the data sets raise, and ResourceError where a reading process was killed.
    """

    def __init__(
        self, images: Mapping[Grid, Images], device: torch.device, workers: int = 0,
        plan: Callable[[], Iterator[Key]] = lambda: iter(()), limit: int | None = None,
    ) -> None:  # fmt: skip
        self.images, self.device, self.plan = images, device, plan
        # Data sets hold open files and readers that only a forked process inherits.
        self.workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        self._resident: dict[Grid, _Resident] = {}
        left = room(device) if limit is None else limit
        for grid, opened in images.items():
            size = len(opened) * grid.channels * grid.pixels * 4
            if size <= left:
                left -= size
                self._resident[grid] = _Resident(opened, torch.empty(len(opened), *grid.picture, device=device))
        self._asked: deque[Key] = deque()
        self._ahead: Iterator[Tensor | InvkitError] | None = None
        # Readers ignore the signal with which Python ends processes that are left over, and would then be waited for.
        atexit.register(_close, weakref.ref(self))

    def take(self, grid: Grid, ids: list[int]) -> Tensor:
        """The pictures (B, C, H, W) of some ids."""
        if grid in self._resident:
            return self._resident[grid].take(ids)
        x = self._read_ahead((grid, ids)) if self.workers else None
        if x is None:
            x = self.images[grid][ids]
            x = x.pin_memory() if self.device.type == "cuda" else x
        return x.to(self.device, non_blocking=True)

    def close(self) -> None:
        """End the reading processes; they start again when something is asked."""
        self._ahead = None
        self._asked.clear()

    def _read_ahead(self, wanted: Key) -> Tensor | None:
        """The next batch of the plan, or of a new one; None where it is not what is wanted."""
        for _ in range(2):
            if self._ahead is None:
                self._ahead = self._start()
            try:
                x = next(self._ahead, None)
            except RuntimeError as error:
                if "worker (pid" not in str(error):
                    raise
                raise ResourceError(
                    "a process that reads pictures was killed; lower train.workers, or free memory"
                ) from None
            if x is not None and self._asked.popleft() == wanted:
                if isinstance(x, InvkitError):
                    raise x
                return x
            self.close()
        return None

    def _start(self) -> Iterator[Tensor | InvkitError]:
        loader: DataLoader[Tensor | InvkitError] = DataLoader(
            _Readable(self.images), batch_size=None, sampler=self._noted(), num_workers=self.workers,
            prefetch_factor=AHEAD, collate_fn=_as_it_is, worker_init_fn=_ignore_stops, multiprocessing_context="fork",
            pin_memory=self.device.type == "cuda", generator=torch.Generator(),
        )  # fmt: skip
        return iter(loader)

    def _noted(self) -> Iterator[Key]:
        """The plan but for what is resident; what is given to the readers is noted, and comes back in this order."""
        for key in self.plan():
            if key[0] not in self._resident:
                self._asked.append(key)
                yield key


def _close(feed: "weakref.ref[Feed]") -> None:
    if (own := feed()) is not None:
        own.close()


class _Readable(Dataset[Tensor | InvkitError]):
    """Batches by key, for torch's loader; an error that a person has to read comes back as it is."""

    def __init__(self, images: Mapping[Grid, Images]) -> None:
        self.images = images

    def __getitem__(self, key: Key) -> Tensor | InvkitError:
        try:
            return self.images[key[0]][key[1]]
        except InvkitError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_stops(_: int) -> None:
    """Whether to stop is the parent's question, and readers end with it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
