"""What a training step costs: processor time and memory, by network and grid.

    python tests/benchmarks/cost.py [steps]

Processor seconds of one thread (`time.process_time`), which other programs on the machine do not change much; of the fastest
of some whole training steps (measuring, forward, backward, update) at batch 8 in float32. `ns` is that time for one
picture, over the parameters and the cells of the finest level (pixels over patch squared). `state` are weights, their
average, gradients and moments, in bytes for a parameter; `kept` is what the backward pass keeps of one picture, in MB and
in float32 values for each channel and cell of the finest level.
"""

import sys
import time

import torch
from invkit_sparse import RandomPixels

from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.settings import Diffusion
from invkit.physics.measurement import Noise
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.settings import Train
from invkit.training.trainer import Trainer

SMALL = {"channels": 48, "mult": (1, 2), "blocks": 2, "patch": 2, "modes": 6}  # quickstart
DEEP = {"channels": 64, "mult": (1, 2, 2), "blocks": 2, "patch": 2, "modes": 12}
CASES = [(SMALL, 32), (SMALL, 64), (SMALL, 128), (DEEP, 32), (DEEP, 64), ({**SMALL, "patch": 8, "modes": 16}, 256)]
BATCH = 8


def kept_bytes(trainer: Trainer) -> int:
    """What the graph of a step keeps, each tensor once and without the parameters."""
    known = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def keep(t: torch.Tensor) -> torch.Tensor:
        if t.untyped_storage().data_ptr() not in known:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        next(trainer.run())
    return sum(kept.values())


def main() -> None:
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("channels mult       patch modes   grid  M parameters  images/s      ns  state  kept MB  values")
    for network, side in CASES:
        grid = Grid(side, side)
        problem = Problem({grid: Fields(train_size=16).open("train", grid, 0)}, RandomPixels(), Noise(), 0)
        # The fill is no network: it would cost the same beside any, and is left out.
        settings = NETWORKS["fno-unet"](**network, fill="mean")
        model = build_model(problem, settings, Diffusion(), "float32", torch.device("cpu"))
        trainer = Trainer(problem, model, Train(steps=99, batch=BATCH, precision="float32"), torch.device("cpu"))
        kept = kept_bytes(trainer) / BATCH
        times = []
        for _ in range(steps):
            start = time.process_time()
            next(trainer.run())
            times.append(time.process_time() - start)
        size = sum(p.numel() for p in model.parameters())
        state = 4 + sum(t.numel() * t.element_size() for part in trainer.state().values() for t in part.values()) / size
        rate, cells = BATCH / min(times), grid.pixels / network["patch"] ** 2
        print(
            f"{network['channels']:<8} {network['mult']!s:<10} {network['patch']:>5} {network['modes']:>5} {side:>6} "
            f"{size / 1e6:>13.2f} {rate:>9.2f} {1e9 / rate / size / cells:>7.2f} {state:>6.1f} {kept / 1e6:>8.1f} "
            f"{kept / 4 / cells / network['channels']:>7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
