"""The errors of zero-shot solvers on posteriors with several modes, with the exact denoiser in place of a network.

    python tests/benchmarks/zeroshot_mixture.py [calls ...]

Images are samples of the default of `mixture-fields` at 16x16, one channel, measured at 10 % of the pixels with noise 0.7. From
16 samples of each of 8 images, for each number of calls: CRPS over that of exact samples, with 32 further exact samples of each
posterior as truths; the total variation distance between the weights of the components in the samples and in the posterior
(the metric `component_weights`); and the variance over that of the posterior. CRPS and variance are over hidden pixels. The row
`exact` has other exact samples.
"""

import sys
import time
from pathlib import Path

import torch
from invkit_sparse import RandomPixels as Sparse
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.zeroshot_gaussian import TRUTHS, Bench

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import MixtureFields
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.measurement import Noise, measure
from invkit.reconstructors.zeroshot import SOLVERS, MixturePrior, ZeroShot
from invkit.reconstructors.zeroshot.base import PointSolver

GRID = Grid(16, 16, 1)
LAW = MixtureFields(colors=1).law()
PRIOR = MixturePrior.white(LAW, GRID)
IMAGES, DRAWS = 8, 16


class MixtureBench(Bench):
    """Measurements of some images of the mixture, their exact posterior, and truths drawn from it."""

    def __init__(self, images: int = IMAGES, draws: int = DRAWS, seed: int = 0) -> None:
        keys = Keys.of(seed, "mixture bench", range(images))
        operator = Sparse(fraction=0.1).sample(keys, GRID)
        self.measurement = measure(operator, LAW.sample(keys, GRID), Noise(sigma=0.7), keys)
        posterior, self.draws = MixturePosterior(LAW, self.measurement), draws
        self.hidden = ~operator.observed  # type: ignore[attr-defined]
        self.keys, self.mean, self.weights = (
            Keys.of(seed, "draws", range(images)),
            posterior.mean(),
            posterior.weights,
        )
        self.variance = posterior.sample(Keys.of(seed, "variance", range(images)), 512).var(0)
        self.truths = posterior.sample(Keys.of(seed, "truths", range(images)), TRUTHS)
        self.exact = posterior.sample(Keys.of(seed, "exact", range(images)), max(draws, 256))
        self.others = posterior.sample(Keys.of(seed, "others", range(images)), draws)

    def distance(self, samples: Tensor) -> float:
        """Total variation distance of the weights of the components, as a mean over images."""
        shares = LAW.responsibilities(samples.flatten(0, 1)).view(len(samples), *self.weights.shape).mean(0)
        return float(0.5 * (shares - self.weights).abs().sum(1).mean())

    def row(self, samples: Tensor) -> tuple[float, float, float]:
        """CRPS over that of exact samples, distance of the weights, variance over that of the posterior."""
        _, variance, crps = self.figures(samples)
        return crps, self.distance(samples), variance

    def solved(self, name: str, calls: int) -> tuple[float, float, float]:
        solver = SOLVERS[name].model_validate({"prior": "oracle", "calls": calls})
        return self.row(ZeroShot(solver, PRIOR).sample(self.measurement, self.keys, self.draws))  # type: ignore[arg-type]


def main(*calls: int) -> None:
    torch.set_num_threads(1)
    bench, calls, start = MixtureBench(), calls or (10, 50, 250, 1000), time.perf_counter()

    def cell(row: tuple[float, float, float]) -> str:
        return f"{row[0]:.3f}, {row[1]:.2f} ({row[2]:.2f})"

    print(f"| solver | {' | '.join(map(str, calls))} |\n| --- |{' --- |' * len(calls)}", flush=True)
    print(f"| exact |{f' {cell(bench.row(bench.others))} |' * len(calls)}", flush=True)
    for name in (name for name, cls in SOLVERS.items() if not issubclass(cls, PointSolver)):
        cells = []
        for number in calls:
            try:
                cells.append(cell(bench.solved(name, number)))
            except (Unavailable, ValueError):  # fewer calls than a step costs
                cells.append("")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
