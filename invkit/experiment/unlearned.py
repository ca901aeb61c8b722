"""Whether a trained model returns its initial estimate, which looks like a result and is none."""

from collections.abc import Mapping, Sequence
from itertools import product

import torch

from invkit.core.grid import Grid
from invkit.data.base import Images
from invkit.evaluation.protocol import Protocol
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing

LOOKED_AT = 8  # test images of each grid and degradation
LEAST = 0.05  # of the error of the initial estimate; a mean that differs by less is at most 0.01 dB better
FILLS = {"gaussian": "kriging", "mean": "the mean colour", "zero": "zero"}


@torch.no_grad()
def unlearned_note(trained: Trained, images: Mapping[Grid, Images], protocols: Sequence[Protocol]) -> str | None:
    """A warning if the posterior mean equals the initial estimate up to `LEAST` of the error of that estimate.

    None for samples of a Gaussian field and for images that are not measured, whose initial estimate may be the posterior mean.
    """
    model, recipe = trained.model, trained.recipe
    if recipe.data.law() is not None or isinstance(recipe.degradation, Nothing):
        return None
    moved = error = 0.0
    for protocol, source in product(protocols, images.values()):
        truth, measurement = protocol.measure(source, range(min(LOOKED_AT, len(source), protocol.settings.images)))
        estimate = model.initial_estimate(measurement)
        start = measurement.paste(estimate.mean)
        mean = measurement.paste(model.eval().mean(measurement, estimate))
        moved += float((mean - start).double().square().sum())
        error += float((truth - start).double().square().sum())
    share = (moved / error) ** 0.5 if error else 0.0
    if not error or share >= LEAST:
        return None
    return (
        f"the mean of the model equals its initial estimate ({FILLS[recipe.model.fill]}) up to {100 * share:.2g} % of the error "
        f"of that estimate: the network has learned next to nothing in {trained.step} steps. Usual causes: too few steps "
        "(train.steps), a learning rate that is too small (train.lr, train.muon_lr), a mean_share of 0, or measurements "
        "that say nothing more about the images"
    )
