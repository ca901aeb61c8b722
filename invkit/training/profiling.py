"""Profiles the parts of a training step."""

import os
import time
from itertools import islice
from typing import Any

from torch.profiler import ProfilerActivity, profile

from invkit.core.device import synchronise, synchronised_spans
from invkit.training.trainer import Trainer

WARM, STEPS = 3, 10
PARTS = {
    "images": "images, read and moved to the device",
    "measure": "degradation: operators sampled and applied",
    "condition": "initial estimate and conditioning inputs",
    "network": "network, forward",
    "loss": "noise, preconditioning, loss",  # the rest of the loss
    "backward": "backward",
    "optimiser": "gradient norm, optimiser",
    "average": "averaged weights",
}


def profile_steps(trainer: Trainer, steps: int = STEPS) -> list[dict[str, Any]]:
    """Milliseconds per step and share of each part, after `WARM` steps; the last row is the whole step, by the wall clock.

    On CUDA the device is synchronised after each part, so a step takes longer than in training.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler writes lines of its own to stderr
    run, device = trainer.run(), trainer.device
    list(islice(run, WARM))
    synchronise(device)
    with synchronised_spans(device), profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        list(islice(run, steps))
        synchronise(device)
        seconds = time.perf_counter() - start
    events = {e.key.removeprefix("invkit/"): e for e in profiler.key_averages() if e.key.startswith("invkit/")}
    spent = {key: e.cpu_time_total / 1e3 / steps for key, e in events.items()}
    inner = ("images", "measure", "condition", "network")  # nested in the loss
    spent["loss"] -= sum(spent.get(key, 0) for key in inner)
    whole = 1e3 * seconds / steps
    rows = [{"part": text, "ms": spent.get(key, 0.0)} for key, text in PARTS.items()]
    rows.append({"part": "rest", "ms": max(0.0, whole - sum(row["ms"] for row in rows))})
    rows.append({"part": "step", "ms": whole})
    return [{**row, "share": row["ms"] / whole} for row in rows]


def profile_text(rows: list[dict[str, Any]], batch: int) -> str:
    """The rows as a text table, and the images per second."""
    lines = [f"{row['ms']:9.1f} ms {100 * row['share']:5.1f} %  {row['part']}" for row in rows]
    return "\n".join([*lines, f"{1e3 * batch / rows[-1]['ms']:9.1f} images/s at train.batch={batch}"]) + "\n"
