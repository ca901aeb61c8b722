"""Draws docs/pretrained.png: the first test images of a shipped model, rebuilt.

    python tests/benchmarks/pretrained_figure.py [docs/pretrained.png] [pretrained:photos-sparse]

Columns: measurement, kriging, posterior mean, two samples, standard deviation of 19 samples, truth. Nobody chose the images: they
are the first of the test split, and their masks are keyed by number.
"""

import sys
from pathlib import Path

import invkit
from invkit.core.keys import Keys
from invkit.evaluation.report.images import sample_sheet
from invkit.physics.measurement import measure

ROWS, SAMPLES = 4, 19


def figure(model: str) -> bytes:
    trained = invkit.load(model, device="cpu")
    recipe, grid = trained.recipe, trained.reference
    x = recipe.data.open("test", grid, recipe.seed, ROWS)[range(ROWS)]
    keys = Keys.of(recipe.seed, "figure", range(ROWS))
    operator = recipe.degradation.sample(keys.child("operator"), grid)
    measurement = measure(operator, x, recipe.noise, keys.child("noise"))
    posterior = trained.posterior(measurement, SAMPLES)
    kriging = trained.model.initial_estimate(measurement).mean
    return sample_sheet(x, measurement, kriging, posterior.mean, posterior.samples, reference_label="kriging")


if __name__ == "__main__":
    path, model = (*sys.argv[1:], *("docs/pretrained.png", "pretrained:photos-sparse")[len(sys.argv) - 1 :])
    Path(path).write_bytes(figure(model))
