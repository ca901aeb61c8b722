"""What each choice of the diffusion is worth: trainings that differ in one setting, on a Gaussian field and on photographs.

    python tests/benchmarks/study.py FOLDER [fields|photos ...]

Everything is small (16x16, half-width networks), so that all of it takes half an hour on two cores; pictures, masks and seed
are the same throughout, and every figure is paired with the base's. What is done in FOLDER is not done again.
"""

import csv
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from invkit.evaluation.bootstrap import Bootstrap
from invkit.experiment.run import run
from invkit.recipe.recipe import Recipe, load_recipe
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
STEPS = 300
SMALL = [
    "train.grids=[16]", f"train.steps={STEPS}", "eval.images=48", "eval.grids=[16,32]", "eval.batch=16",
    "sample.method=dpmpp-2m", "sample.steps=8", "log.tensorboard=false", "diffusion.preconditioning=spectral",
]  # fmt: skip
MODEL = ["model.fill=gaussian", "model.channels=32", "model.mult=[1,2]", "model.blocks=2", "model.patch=2"]
PRIOR = ["model.prior.name=matern", "model.prior.std=0.5", "model.prior.length=0.2", "model.prior.exponent=1.3"]
SPARSE = "degradation={name: sparse-random, fraction: 0.1}"
BASES = {
    "fields": ("oracle_gaussian", [*PRIOR, SPARSE, "eval.methods=[gaussian,model,oracle]"]),
    "photos": ("quickstart", ["eval.methods=[gaussian,model]"]),
}
COLOURED = ["diffusion.field.name=matern", "diffusion.field.std=1", "diffusion.field.length=0.2"]
PLAIN = "plain U-Net"
VARIANTS = {
    "base": [],
    "coloured noise": [*COLOURED, "diffusion.field.exponent=1.3"],
    "coloured noise, scalar": [*COLOURED, "diffusion.field.exponent=1.3", "diffusion.preconditioning=edm"],
    "scalar preconditioning": ["diffusion.preconditioning=edm"],
    "fill mean": ["model.fill=mean"],
    "fill zero": ["model.fill=zero"],
    "grids 16 and 32": ["train.grids=[16,32]", "model.reference=16"],
    PLAIN: [],
}


def step_seconds(recipes: list[Recipe], rounds: int = 12) -> list[float]:
    """Median seconds of a step of each, taken in turn."""
    runs, seconds = [], [[] for _ in recipes]
    for recipe in recipes:
        problem = Problem(recipe.open_images("train"), recipe.degradation, recipe.noise, recipe.seed)
        cpu = torch.device("cpu")
        model = build_model(problem, recipe.model, recipe.diffusion, recipe.train.precision, cpu)
        runs.append(Trainer(problem, model, recipe.train, cpu).run())
    for _ in range(rounds):
        for steps, taken in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            next(steps)
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[2:]) for taken in seconds]


def interval(differences: np.ndarray, groups: list[str]) -> tuple[float, float]:
    """95 % interval of the mean of paired differences, by photograph."""
    bootstrap = Bootstrap.of(groups, 0)
    low, high = bootstrap.interval(bootstrap.mean(differences))
    assert low is not None and high is not None
    return low, high


def crps(folder: Path, grid: str) -> tuple[np.ndarray, list[str]]:
    """CRPS of the model's samples of every picture on a grid, and the photograph that each is from."""
    with (folder / "eval" / "per_image.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if (r["method"], r["readout"], r["grid"]) == ("model", "sample", grid)]
    return np.array([float(row["crps"]) for row in rows]), [row["group"] for row in rows]


def table(folder: Path) -> dict:
    return json.loads((folder / "eval" / "table.json").read_text())


def train(folder: Path, recipe: str, overrides: list[str]) -> None:
    run(load_recipe(ROOT / "recipes" / f"{recipe}.yaml", overrides), folder, "cpu")


def main(out: Path, data: list[str]) -> None:
    for kind in data:
        name, methods = BASES[kind]
        base = ["model.name=fno-unet", *MODEL, "model.modes=6", *SMALL, *methods]
        for variant, changes in VARIANTS.items():
            folder = out / f"{kind}-{variant.replace(',', '').replace(' ', '_')}"
            if not (folder / "eval" / "done.json").exists():
                overrides = [*base, *changes]
                if variant == PLAIN:  # at equal time
                    overrides = ["model.name=unet", *MODEL, *SMALL, *methods]
                    pair = [load_recipe(ROOT / "recipes" / f"{name}.yaml", o) for o in (base, overrides)]
                    operator, plain = step_seconds(pair)
                    overrides = [o for o in overrides if not o.startswith("train.steps")]
                    overrides.append(f"train.steps={round(STEPS * operator / plain)}")
                train(folder, name, overrides)
            steps = sorted((folder / "checkpoints").glob("step-*"))[-1].name
            for grid in ("16x16", "32x32"):
                own, groups = crps(folder, grid)
                reference, _ = crps(out / f"{kind}-base", grid)
                low, high = interval(own - reference, groups)
                rows = [r for r in table(folder)["rows"] if f"{r['grid'][0]}x{r['grid'][1]}" == grid]
                by = {(r["method"], r["readout"]): r["metrics"] for r in rows}
                line = [f"{kind:7}{variant:24}{steps:14}{grid:6} crps {own.mean():.5f}"]
                line.append(f"to base {own.mean() - reference.mean():+.5f} [{low:+.5f}, {high:+.5f}]")
                line.append(f"spread/skill {by['model', 'sample']['spread_skill']['value']:.3f}")
                line.append(f"mean psnr {by['model', 'mean']['psnr']['value']:.2f}")
                for other in ("oracle", "gaussian"):
                    if (other, "sample") in by:
                        line.append(f"{other} crps {by[other, 'sample']['crps']['value']:.5f}")
                print("  ".join(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["fields", "photos"])
