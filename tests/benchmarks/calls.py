"""CRPS, energy score and spread/skill of samples against the number of network calls: `python tests/benchmarks/calls.py RUN FILE`.

FILE is an .npz with `images` (N, H, W, 3) uint8, of which the first 32 are measured as the run's recipe says; K = 9. All rows have
the same noise, and ratios are paired with the first row. A row is `calls[,method=NAME][,SCHEDULE_KEY=VALUE]`.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import invkit
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import SAMPLERS, Sample
from invkit.physics.measurement import measure

IMAGES, COUNT = 32, 9
ROWS = ("15", "10", "8", "8,sigma_min=.03", "6,sigma_min=.05", "5,sigma_min=.05")


def scores(samples: Tensor, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """CRPS and energy score of each image, spread/skill of hidden pixels, and of means over 16x16 blocks."""
    k = len(samples)
    pairs = sum((one - samples).abs().sum(0) for one in samples) / (2 * k * (k - 1))
    crps = (((samples - x).abs().mean(0) - pairs) * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3)) / 2

    def norm(d: Tensor) -> Tensor:
        return (d * hidden).square().sum((-3, -2, -1)).sqrt()

    energy = norm(samples - x).mean(0) - sum(norm(one - samples).sum(0) for one in samples) / (2 * k * (k - 1))

    def ratio(s: Tensor, truth: Tensor) -> float:
        return float(((1 + 1 / k) * s.var(0).sum() / (s.mean(0) - truth).square().sum()).sqrt())

    blocks = F.avg_pool2d(samples.flatten(0, 1), 16).unflatten(0, samples.shape[:2])
    return crps, energy, ratio(samples * hidden, x * hidden), ratio(blocks, F.avg_pool2d(x, 16))


def main(run: str, file: str, *rows: str) -> None:
    trained, ids = invkit.load(run), list(range(IMAGES))
    x = torch.tensor(np.load(file)["images"][:IMAGES]).permute(0, 3, 1, 2).float() / 127.5 - 1
    keys, model = Keys.of(0, "study", ids), trained.model
    operator = trained.recipe.degradation.sample(keys.child("operator"), Grid(*x.shape[2:]))
    measurement = measure(operator, x, trained.recipe.noise, keys.child("noise"))
    hidden = (~measurement.observed).to(x).expand_as(x)  # type: ignore[operator]
    schedule, first = model.schedule, None
    for row in rows or ROWS:
        calls, *more = row.split(",")
        changes = dict(pair.split("=") for pair in more)
        method = SAMPLERS[changes.pop("method", "dpmpp-2m")]()
        model.schedule = schedule.model_copy(update={key: float(value) for key, value in changes.items()})
        start = time.thread_time()
        drawn = model.sample(measurement, Keys.of(0, "draw", ids), COUNT, Sample(method=method, steps=int(calls)))
        seconds = time.thread_time() - start
        crps, energy, pixels, blocks = scores(drawn, x, hidden)
        first = first or (crps, energy)
        error = float((crps - first[0]).std()) / IMAGES**0.5 / float(first[0].mean())
        print(
            f"{row:24} CRPS {crps.mean():.5f} ratio {crps.mean() / first[0].mean():.4f} ±{error:.4f} energy "
            f"{energy.mean() / first[1].mean():.4f} spread/skill {pixels:.3f} 16x16 {blocks:.3f} {IMAGES * COUNT / seconds:.0f}/s"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
