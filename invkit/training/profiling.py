"""Profiles a training step, a posterior mean and a sample: time, tensor operations, and waits of the host for the device."""

from itertools import islice
from typing import Any

from invkit.core.device import synchronise
from invkit.core.keys import Keys
from invkit.core.spans import REST, Clock, Counts
from invkit.diffusion import Sample
from invkit.training.trainer import CHECK_EVERY, Trainer

WARM, STEPS = 3, 10
LENGTH = WARM + STEPS + 1  # steps of a profile
PARTS = {
    "images": "images, read and moved to the device",
    "measure": "degradation: operators sampled and applied",
    "condition": "initial estimate and conditioning inputs",
    "random": "random numbers",
    "network": "network, forward",
    "loss": "noise, preconditioning, loss",
    "backward": "backward",
    "optimiser": "gradient norm, optimiser",
    "average": "averaged weights",
    REST: "rest",
}
Rows = list[dict[str, Any]]


def profile(trainer: Trainer, sample: Sample, steps: int = STEPS) -> tuple[Rows, list[str]]:
    """What each part takes: milliseconds of a step, and operations of a step, a mean and a sample; the last row is the whole.

    The times are those of a trainer that has taken `WARM` steps. On CUDA the device is synchronised after each part, so a step
    takes longer than in training. Operations are tensor operations other than views. The second result lists the places where the
    host waits for the device, and how often.
    """
    run, device = trainer.run(), trainer.device
    list(islice(run, WARM))
    with Clock(lambda: synchronise(device)) as clock:
        list(islice(run, steps))
    counts = {"step": count_step(trainer), **count_inference(trainer, sample)}
    rows: Rows = []
    for key, text in PARTS.items():
        operations = {what: found.operations[key] for what, found in counts.items()}
        rows.append({"part": text, "ms": 1e3 * clock.seconds[key] / steps, **operations})
    whole = {key: sum(row[key] for row in rows) for key in ("ms", *counts)}
    rows = [{**row, "share": row["ms"] / whole["ms"]} for row in [*rows, {"part": "step", **whole}]]
    waits = [
        f"{number} x in a {what}: {PARTS[part]} ({place})"
        for what, found in counts.items()
        for (part, place), number in found.waits.items()
    ]
    return rows, waits


def count_step(trainer: Trainer) -> Counts:
    """The operations of the next step of a trainer, whose results are not read."""
    trainer.check_every = CHECK_EVERY  # as on a device; on a CPU the host reads after every step whether it was finite
    with Counts() as counts:
        counts.mark(*trainer.model.parameters(), *trainer.average.values())
        next(trainer.run())
    return counts


def count_inference(trainer: Trainer, sample: Sample, images: int = 4) -> dict[str, Counts]:
    """The operations of the means of a batch of measurements, and of one sample of each."""
    problem, model, device = trainer.problem, trainer.model, trainer.device
    grid, keys = trainer.grid(trainer.step), Keys.of(0, "profile", range(images), device)
    x = problem.images[grid][list(range(images))].nan_to_num().to(device)
    model.eval()
    found = {}
    for what in ("mean", "sample"):
        for _ in range(2):  # the first time, matrices are computed that are kept
            with Counts() as counts:
                measurement = problem.measure(x, keys[:], grid)
                counts.mark(*model.parameters(), measurement.y)
            counts.operations.clear()
            counts.waits.clear()
            with counts:
                if what == "mean":
                    model.mean(measurement)
                else:
                    model.sample(measurement, keys.child("samples"), 1, sample)
        found[what] = counts
    model.train()
    return found


def profile_text(rows: Rows, waits: list[str], batch: int) -> str:
    """The rows as a text table, the images per second, and the waits."""
    lines = [f"{'time of a step':>21} | operations: {'step':>6} {'mean':>6} {'sample':>6} |"]
    for row in rows:
        operations = " ".join(f"{row[what]:6}" for what in ("step", "mean", "sample"))
        lines.append(f"{row['ms']:9.1f} ms {100 * row['share']:6.1f} % |             {operations} | {row['part']}")
    lines.append(f"{1e3 * batch / rows[-1]['ms']:9.1f} images/s at train.batch={batch}")
    lines.append("the host waits for the device: " + ("; ".join(waits) or "never"))
    return "\n".join(lines) + "\n"
