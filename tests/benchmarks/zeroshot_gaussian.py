"""The errors of zero-shot solvers on posteriors in closed form, with an exact denoiser in place of a network.

    python tests/benchmarks/zeroshot_gaussian.py [calls] [images]

Images are samples of a Matern field at 32x32, one channel; the prior of the solvers is the exact denoiser of that field, so that
all errors are due to the solver. Four tasks: 10 % of the pixels with noise 0.05, super-resolution by 4 with 0.02, a Gaussian blur
of 0.05 with 0.03, tomography from 24 angles with 0.03. From 16 samples of each image, pooled over images and, for the mask, over
hidden pixels: CRPS over that of exact samples, with 32 further exact samples of each posterior as truths; and the variance over
that of the posterior. `tds` makes its default number of calls.
"""

import sys

import torch
from invkit_blur import GaussianBlur
from invkit_sparse import RandomPixels as Sparse
from invkit_superres import BlockMean
from invkit_tomography import Tomography
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.calibration import fair_crps
from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior, Solver, ZeroShot
from invkit.reconstructors.zeroshot.base import PointSolver

GRID = Grid(32, 32, 1)
LAW = MaternField(std=0.5, length=0.3, exponent=2.0)
TASKS = {  # operator and noise
    "mask": (Sparse(fraction=0.1), 0.05),
    "super-resolution": (BlockMean(factor=4), 0.02),
    "blur": (GaussianBlur(width=0.05), 0.03),
    "tomography": (Tomography(angles=24), 0.03),
}
DRAWS, TRUTHS = 16, 32
PRIOR = FieldPrior(LAW, WhiteField(std=0.5, reference=32))  # levels are in standard deviations of the images


class Bench:
    """Measurements of some images, their exact posterior, and truths drawn from it."""

    def __init__(self, pictures: int, seed: int = 0, task: str = "mask") -> None:
        keys, (degradation, sigma) = Keys.of(seed, "bench", range(pictures)), TASKS[task]
        operator = degradation.sample(keys, GRID)
        self.measurement: Measurement = measure(operator, LAW.sample(keys, GRID), Noise(sigma=sigma), keys)
        posterior = GaussianPosterior(LAW, self.measurement)
        observed = self.measurement.observed
        self.hidden = torch.ones(pictures, 1, *GRID.shape, dtype=torch.bool) if observed is None else ~observed
        self.keys, self.mean = Keys.of(seed, "draws", range(pictures)), posterior.mean()
        self.variance = posterior.variance(Keys.of(seed, "variance", range(pictures)), 128)
        self.truths = posterior.sample(Keys.of(seed, "truths", range(pictures)), TRUTHS)
        self.exact = posterior.sample(Keys.of(seed, "exact", range(pictures)), DRAWS)

    def crps(self, samples: Tensor) -> float:
        ordered = samples.sort(0).values
        return sum(float(fair_crps(ordered, truth)[self.hidden].mean()) for truth in self.truths) / TRUTHS

    def figures(self, samples: Tensor) -> tuple[float, float, float]:
        """Error of the mean in deviations, ratio of variances, ratio of CRPS."""
        total = self.variance[self.hidden].sum()
        error = (samples.mean(0) - self.mean)[self.hidden].square().sum() / total
        return (
            float(error.sqrt()),
            float(samples.var(0)[self.hidden].sum() / total),
            self.crps(samples) / self.crps(self.exact),
        )

    def of(self, solver: Solver, prior: FieldPrior = PRIOR) -> tuple[float, float, float]:
        return self.figures(ZeroShot(solver, prior).sample(self.measurement, self.keys, DRAWS))


def main(calls: int = 50, pictures: int = 16) -> None:
    torch.set_num_threads(1)
    benches = {task: Bench(pictures, task=task) for task in TASKS}
    print(f"| solver | {' | '.join(TASKS)} |\n| --- |{' --- |' * len(TASKS)}")
    for name, cls in SOLVERS.items():
        if issubclass(cls, PointSolver):
            continue
        cells = []
        for bench in benches.values():
            try:
                settings = {} if name == "tds" else {"calls": calls}
                _, variance, crps = bench.of(cls.model_validate({"prior": "exact", **settings}))  # type: ignore[arg-type]
                cells.append(f"{crps:.3f} ({variance:.2f})")
            except Unavailable:
                cells.append("")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
