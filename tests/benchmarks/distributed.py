"""Training speed of several processes against one, each on one thread of a CPU (or, with CUDA, one GPU).

    python tests/benchmarks/distributed.py [processes] [steps] [batch]

The network of `quickstart` on the photographs. Beside the ratio: what the sums of a step weigh, and what share of a step
the processes spend in them, waiting for each other included.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from invkit_sparse import RandomPixels

from invkit.core.device import pick_device
from invkit.core.distributed import World, join, launch
from invkit.core.grid import Grid
from invkit.data.photos import Photos
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.settings import Diffusion
from invkit.physics.measurement import Noise
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.settings import Train
from invkit.training.trainer import Trainer

NETWORK = {"channels": 48, "mult": (1, 2), "blocks": 2, "patch": 2, "modes": 6}


def work(steps: int, batch: int, out: Path) -> None:
    """Train, and note pictures a second, the share of the sums and their bytes, as the first process sees them."""
    torch.set_num_threads(1)
    spent: list[float] = []
    plain = World.sum_

    def timed(self: World, tensors: object) -> None:
        start = time.perf_counter()
        plain(self, tensors)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - start)

    World.sum_ = timed  # type: ignore[assignment,method-assign]
    with join(pick_device("auto")) as (world, device):
        grid = Grid(32, 32)
        problem = Problem({grid: Photos(crops=1024).open("train", grid, 0)}, RandomPixels(), Noise(), 0)
        settings = Train(steps=steps + 2, batch=batch, precision="float32")
        model = build_model(problem, NETWORKS["fno-unet"](**NETWORK), Diffusion(), "float32", device)
        seconds = [record.seconds for record in Trainer(problem, model, settings, device, world).run()][2:]
        size = sum(p.numel() for p in model.parameters()) * 4
        if world.first:
            median = statistics.median(seconds)
            out.write_text(f"{batch / median} {sum(spent[2:]) / sum(seconds)} {size}")


def main() -> None:
    processes, steps, batch = (int(a) for a in (*sys.argv[1:], *("2", "6", "32")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        out, found = Path(folder) / "found", []
        for count in (1, processes):
            code = launch([sys.executable, __file__, "work", str(steps), str(batch), str(out)], count)
            assert code == 0, f"a process ended with {code}"
            found.append([float(text) for text in out.read_text().split()])
    (one, _, _), (several, share, size) = found
    print(f"1 process     {one:8.1f} images/s")
    print(f"{processes} processes   {several:8.1f} images/s   {several / one:.2f} times")
    print(f"sums of {size / 1e6:.1f} MB a step in {100 * share:.0f} % of its time; {os.cpu_count()} cores")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
