"""What zero-shot solvers miss of a posterior that is known: an exact denoiser in place of a network.

    python tests/benchmarks/zeroshot_gaussian.py [calls] [pictures]

Pictures are draws of a Matern field at 32x32, one channel, seen at 10 % of their pixels with noise of 0.05; the prior of the
solvers is the exact denoiser of that field, so that all that is missed is the solver's. Over hidden pixels, pooled over
pictures, from 16 draws of each: the error of the mean over the posterior's deviation (root mean squares; the 16 draws alone
make it a quarter), the variance of the draws over the posterior's, and their CRPS over that of exact draws, against the same
truths: 32 more exact draws of each posterior. An exact solver has 0.25, 1 and 1.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.exact_prior import GaussianPrior

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.calibration import fair_crps
from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.zeroshot import SOLVERS, Solver, ZeroShot

GRID = Grid(32, 32, 1)
LAW = MaternField(std=0.5, length=0.3, exponent=2.0)
SEEN, SIGMA = 0.1, 0.05
DRAWS, TRUTHS = 16, 32
PRIOR = GaussianPrior(LAW, WhiteField(std=1.0, reference=32))


class Bench:
    """Measurements of some pictures, their exact posterior, and truths drawn from it."""

    def __init__(self, pictures: int, seed: int = 0) -> None:
        keys = Keys.of(seed, "bench", range(pictures))
        observed = (keys.permutation("pixels", GRID.pixels) < round(SEEN * GRID.pixels)).view(-1, 1, *GRID.shape)
        self.measurement: Measurement = measure(Mask(observed, 1), LAW.sample(keys, GRID), Noise(sigma=SIGMA), keys)
        posterior = GaussianPosterior(LAW, self.measurement)
        self.hidden, self.keys = ~observed, Keys.of(seed, "draws", range(pictures))
        self.mean, self.variance = posterior.mean(), posterior.variance()
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

    def of(self, solver: Solver, prior: GaussianPrior = PRIOR) -> tuple[float, float, float]:
        return self.figures(ZeroShot(solver, prior).sample(self.measurement, self.keys, DRAWS))


def main(calls: int = 50, pictures: int = 64) -> None:
    torch.set_num_threads(1)
    bench = Bench(pictures)
    print("| solver | calls | error of the mean | variance | CRPS |\n| --- | --- | --- | --- | --- |")
    rows = {"exact posterior": (0, bench.figures(bench.exact))}
    for name, cls in SOLVERS.items():
        solver = cls.model_validate({"prior": "exact", "calls": calls})
        assert isinstance(solver, Solver)
        rows[name] = ZeroShot(solver, PRIOR).nfe("sample"), bench.of(solver)
    for name, (spent, (error, variance, crps)) in rows.items():
        print(f"| {name} | {spent} | {error:.2f} | {variance:.2f} | {crps:.3f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
