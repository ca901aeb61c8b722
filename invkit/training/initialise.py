"""Builds a model and fits its constants to the training images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from invkit.core.device import Precision, place
from invkit.core.errors import NonFiniteError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import initial_estimate, unknown
from invkit.diffusion.constants import Constants
from invkit.diffusion.density import density_ratio
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import Network
from invkit.diffusion.out_of_distribution import bounds, statistics
from invkit.diffusion.residual_scale import ResidualScale
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField
from invkit.physics.noise import white_sigma
from invkit.training.incomplete import fit_incomplete
from invkit.training.problem import Problem

FIT_IMAGES = 4096  # images that the prior is fitted to
SCALE_IMAGES = 512  # images that the residual field and scale are fitted to
MIDDLE = 32  # the residual field is fitted to images of density ratio one, if there are at least so many, else to all


def build_model(
    problem: Problem,
    network: Network,
    diffusion: Diffusion,
    precision: Precision,
    device: torch.device,
    total: int | None = None,  # number of images processed in the training; None: many
) -> ConditionalModel:
    """The model of step 0, a function of the seed: random weights, and constants fitted to training images.

    A short training fits them to fewer images, so that a smoke run takes seconds.
    """
    grid = problem.grids[0]
    images = problem.images[grid]
    enough = SCALE_IMAGES if total is None else max(64, min(SCALE_IMAGES, total))
    ids = list(range(min(FIT_IMAGES, len(images), 8 * enough)))
    if problem.held is None:
        x = torch.cat([images[ids[i : i + 256]] for i in range(0, len(ids), 256)])
        prior = FittedField.fit(x, grid)
    else:
        x = images[ids[:enough]]
        prior = fit_incomplete(images, white_sigma(problem.noise, "train.clean: false"), problem.seed, enough)
    residual, scale, ranges = _residual(problem, network, prior, x[:enough], grid)
    constants = Constants(prior, residual, scale, max(min(grid.shape) for grid in problem.grids), ranges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        model = ConditionalModel(network, diffusion, constants, precision)
    return place(model, device)


@torch.no_grad()
def take_weights(model: ConditionalModel, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Copy the weights that have a parameter of the same name and shape; returns why each other parameter keeps its own."""
    kept = {}
    for name, p in model.named_parameters():
        found = weights.get(name)
        if found is None:
            kept[name] = "absent there"
        elif found.shape != p.shape:
            kept[name] = f"{tuple(found.shape)} there, {tuple(p.shape)} here"
        else:
            p.copy_(found)
    return kept


def _residual(
    problem: Problem, network: Network, prior: FittedField, x: Tensor, grid: Grid
) -> tuple[FittedField, ResidualScale, Tensor]:
    """The field of the standardised residual of images, its scale, and the ranges of the out-of-distribution statistics."""
    parts, sums, found, measurements = [], [], [], []
    assumed = network.prior or prior
    for first in range(0, len(x), 64):
        part = x[first : first + 64]
        keys = Keys.of(problem.seed, "scale", range(first, first + len(part)))
        part, measurement, where = problem.example(part, keys, grid, prior)
        measurements.append(measurement)
        estimate = initial_estimate(network.fill, assumed, measurement)
        found.append(statistics(estimate.mean, measurement, assumed))
        hidden = unknown(measurement)
        hidden = torch.ones_like(part) if hidden is None else hidden.expand_as(part)
        where = hidden if where is None else where.expand_as(part)
        parts.append(estimate.residual(part) * hidden)
        values = (parts[-1] * where).double().square(), where, estimate.loo_error.view(-1, 1)
        sums.append(torch.stack([v.flatten(1).sum(1).double() for v in values]))
    squares, counts, loo_errors = torch.cat(sums, 1)
    if not squares.isfinite().all():
        raise NonFiniteError("the images or their measurements are not finite; check the data set and the degradation")
    scale = ResidualScale.fit(squares, counts, loo_errors)
    z = torch.cat(parts) / scale(loo_errors).to(x).view(-1, 1, 1, 1)
    ranges = bounds(torch.cat(found))
    middle = torch.cat([density_ratio(m, ranges) for m in measurements]) == 1
    if int(middle.sum()) >= MIDDLE:
        z = z[middle]
    residual = FittedField.fit(z, grid, torch.zeros(grid.channels, dtype=torch.float64))
    return residual, scale, ranges
