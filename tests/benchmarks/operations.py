"""Tensor operations of a training step, a posterior mean and a sample, for the recipes that ship with invkit.

    python tests/benchmarks/operations.py [RECIPE...]

Operations other than views, at batch 4, with the embedded photographs where a recipe would download images; and how often the host
waits for the device.
"""

import sys
from pathlib import Path

from invkit.experiment.run import profiled
from invkit.recipe.recipe import load_recipe
from invkit.training.profiling import PARTS, count_inference, count_step

RECIPES = sorted(path.stem for path in (Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def main() -> None:
    print(f"{'recipe':<20} {'':<6} {'operations':>10} {'waits':>5}  by part")
    for name in sys.argv[1:] or RECIPES:
        data = ["data=photos"] if load_recipe(name).data.downloads else []
        recipe = load_recipe(name, ["train.batch=4", *data])
        trainer = profiled(recipe, "cpu")
        next(trainer.run())  # matrices are computed that are kept
        counts = {"step": count_step(trainer), **count_inference(trainer, recipe.sample)}
        for what, found in counts.items():
            parts = ", ".join(f"{part} {n}" for part in PARTS if (n := found.operations[part]))
            waits = sum(found.waits.values())
            print(f"{name:<20} {what:<6} {sum(found.operations.values()):>10} {waits:>5}  {parts}", flush=True)


if __name__ == "__main__":
    main()
