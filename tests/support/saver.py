"""Save checkpoints until killed, and print the step after each: `python saver.py FOLDER`."""

import sys
from pathlib import Path

import torch

from invkit.training.checkpoint import latest_checkpoint, save_checkpoint

folder = Path(sys.argv[1])
latest = latest_checkpoint(folder)
step = latest.step if latest else 0
print(step, flush=True)
while True:
    step += 1
    save_checkpoint(folder, step, {"weights": {"a": torch.full((20_000,), float(step))}}, {})
    print(step, flush=True)
