"""Groups of forked gloo processes on this machine."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from invkit.core.distributed import World, join

CPU = torch.device("cpu")


def in_world(size: int, work: Callable[[World], Any], joined: bool = True) -> list[Any]:
    """The result or exception of `work` in each of `size` processes, by rank; without `joined` it calls `join` itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def begin(rank: int, out: Any) -> None:
        torch.set_num_threads(1)  # a fork does not copy the threads of the parent
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        os.environ.update(shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        try:
            with join(CPU) if joined else nullcontext((World(rank, size), CPU)) as (world, _):
                out.send(work(world))
        except Exception as error:
            out.send(error)

    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [context.Process(target=begin, args=(rank, pipes[rank][1])) for rank in range(size)]
    try:
        for process in processes:
            process.start()
        until = time.monotonic() + 300
        for rank, (receive, _) in enumerate(pipes):
            assert receive.poll(max(0.0, until - time.monotonic())), f"process {rank} hangs"
        return [receive.recv() for receive, _ in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
