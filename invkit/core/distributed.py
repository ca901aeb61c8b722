"""Data-parallel training and evaluation with torch.distributed, and a launcher for one machine.

Every process holds the whole model, processes its share of the images and makes the same update. Nothing received from
another process is unpickled: messages are tensors, or bytes that the receiver parses as JSON or safetensors.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from invkit.core.errors import DataError, PeerError, RecipeError

TIMEOUT = timedelta(minutes=30)  # only for hangs: a process that ends is detected at once
BUCKET = 64 << 20  # bytes per collective operation
GRACE = 15.0  # seconds that the other processes have to end by themselves after one failed
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Sliced(Protocol):
    """A sequence whose slices have its own type: a list, a range, a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Self: ...


S = TypeVar("S", bound=Sliced)


@dataclass(frozen=True)
class World:
    """The processes of a run, and the rank of this one. With a single process nothing is exchanged.

    >>> [World(rank, 3).share(range(7)) for rank in range(3)]
    [range(0, 3), range(3, 5), range(5, 7)]
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, items: S) -> S:
        """This process's contiguous part of the items; in order of rank the parts form the whole, and sizes differ by at most 1."""
        begin, end = (-(-len(items) * rank // self.size) for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors over all processes, in place; the result is bit-identical in all of them."""
        self._flat(tensors, dist.all_reduce)

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Copy the values of the first process to all others, in place."""
        self._flat(tensors, partial(dist.broadcast, src=0))

    @torch.no_grad()
    def _flat(self, tensors: Iterable[Tensor], collective: Callable[[Tensor], object]) -> None:
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            with _peer_errors():
                collective(flat)
            for t, values in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                t.copy_(values.view(t.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; a collective operation with the same result in all."""
        if self.size == 1:
            return flag
        result = torch.tensor([int(flag)])
        with _peer_errors():
            dist.all_reduce(result, dist.ReduceOp.MAX)
        return bool(result)

    def barrier(self) -> None:
        """Wait until all processes reach this call."""
        self.any(False)

    def gather(self, data: bytes) -> list[bytes]:
        """The data of all processes, in the order of their ranks; the same list in every process."""
        if self.size == 1:
            return [data]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _peer_errors():
            dist.all_gather(sizes, torch.tensor([len(data)]))
            longest = max(map(int, sizes))
            own = torch.zeros(longest, dtype=torch.uint8)
            own[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            parts = [torch.empty_like(own) for _ in sizes]
            dist.all_gather(parts, own)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]

    def agree(self, value: int, what: str) -> None:
        """Raise DataError unless all processes have the same value."""
        values = [int(text) for text in self.gather(str(value).encode())]
        if len(set(values)) > 1:
            raise DataError(f"{what} differs between the processes: {', '.join(map(str, values))}")


ALONE = World()


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors grouped by device and dtype, in buckets of about `BUCKET` bytes."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for t in tensors:
        kinds.setdefault((t.device, t.dtype), []).append(t)
    for group in kinds.values():
        bucket: list[Tensor] = []
        for t in group:
            bucket.append(t)
            if sum(t.nbytes for t in bucket) >= BUCKET:
                yield bucket
                bucket = []
        if bucket:
            yield bucket


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Turn a broken connection into a PeerError: the process that ended reports the cause itself."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError("another process of this run ended or cannot be reached") from error


@contextmanager
def join(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """The world described by the environment variables of torchrun or `launch`, else `ALONE`, and this process's device.

    Raises RecipeError if there are more processes than GPUs. After an error the process group is not destroyed, since
    that would wait for processes that are blocked elsewhere.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE, device
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise RecipeError(f"process {local} has no GPU: this machine has {torch.cuda.device_count()}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    _end_with_launcher()
    with _peer_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    yield World(rank, size), device
    dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process prints: the one of rank 0, or the only one. Reads the environment; needs no `World`."""
    return os.environ.get("RANK", "0") == "0"


def _end_with_launcher() -> None:
    """Send SIGTERM to this process once its launcher is gone, since nothing else would stop it."""
    launcher = int(os.environ.get("INVKIT_LAUNCHER", 0))

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if launcher and os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


def launch(command: Sequence[str], count: int) -> int:
    """Run a command in `count` processes on this machine; returns 0, or the exit code of the first that failed.

    Stop signals are forwarded to all processes. When one fails, the others have `GRACE` seconds to end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)), **os.environ, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "INVKIT_LAUNCHER": str(os.getpid()),
    }  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: object) -> None:
        for process in processes:
            process.send_signal(number)  # no effect on a process that has ended

    before = {number: signal.signal(number, forward) for number in STOPS}
    try:
        for rank in range(count):
            processes.append(subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
        return _code(_wait(processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence["subprocess.Popen[bytes]"]) -> list[int]:
    """Exit codes of the failed processes, in the order in which they ended; waits for all, or `GRACE` seconds after a failure."""
    running, failed, until = list(processes), list[int](), float("inf")
    while running and time.monotonic() < until:
        for process in [p for p in running if p.poll() is not None]:
            running.remove(process)
            if process.returncode and not failed:
                until = time.monotonic() + GRACE
            failed += [process.returncode] if process.returncode else []
        time.sleep(0.05)
    return failed


def _code(failed: Sequence[int]) -> int:
    """The exit code of the launcher: the first failure other than 1, with which processes end that lost a peer; else 1, or 0.

    A process that was ended by signal n counts as 128 + n, as in a shell.
    """
    code = next((code for code in failed if code != 1), 1 if failed else 0)
    return 128 - code if code < 0 else code
