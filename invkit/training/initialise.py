"""Builds a model and fits its constants to the training images."""

import torch
from torch import Tensor

from invkit.core.device import Precision, place
from invkit.core.errors import NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import initial_estimate, unknown
from invkit.diffusion.constants import Constants
from invkit.diffusion.density import fineness
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import Network
from invkit.diffusion.out_of_distribution import bounds, statistics
from invkit.diffusion.residual_scale import Unit
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField
from invkit.physics.measurement import Measurement
from invkit.training.problem import Problem

FIT_IMAGES = 4096  # images that the Gaussian field is fitted to

SCALE_IMAGES = 512  # images that the residual spectrum is fitted to

MIDDLE = 32  # smallest number of images of density ratio 1 to fit the residual spectrum to; with fewer, all are used


def build_model(
    problem: Problem,
    network: Network,
    diffusion: Diffusion,
    precision: Precision,
    device: torch.device,
    seen: int | None = None,  # images processed in the whole training; None: many
) -> ConditionalModel:
    """Build the model of step 0: initialise the weights from the seed, fit the Gaussian field and the residual spectrum.

    A short training fits them to fewer images, so that a smoke run takes seconds.
    """
    grid = problem.grids[0]
    images = problem.images[grid]
    enough = SCALE_IMAGES if seen is None else max(64, min(SCALE_IMAGES, seen))
    ids = list(range(min(FIT_IMAGES, len(images), 8 * enough)))
    x = torch.cat([images[ids[i : i + 256]] for i in range(0, len(ids), 256)])
    prior = FittedField.fit(x, grid)
    residual, unit, familiar = _residual(problem, network, prior, x[:enough], grid)
    constants = Constants(prior, residual, unit, max(min(grid.shape) for grid in problem.grids), familiar)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        model = ConditionalModel(network, diffusion, constants, precision)
    return place(model, device)


def _residual(
    problem: Problem, network: Network, prior: FittedField, x: Tensor, grid: Grid
) -> tuple[FittedField, Unit, Tensor]:
    """Fit, to images x (N, C, H, W), the spectrum of the scaled residual, the residual scale, and the training ranges."""
    parts, units, seen, measurements, law = [], [], [], [], network.prior or prior
    for first in range(0, len(x), 64):
        part = x[first : first + 64]
        measurement = problem.measure(part, Keys.of(problem.seed, "scale", range(first, first + len(part))), grid)
        measurements.append(measurement)
        estimate = initial_estimate(network.fill, law, measurement)
        seen.append(statistics(estimate.mean, measurement, law))
        hidden = unknown(measurement)
        where = torch.ones_like(part) if hidden is None else hidden.expand_as(part)
        parts.append(estimate.residual(part) * where)
        values = parts[-1].double().square(), where, estimate.misfit.view(-1, 1)
        units.append(torch.stack([v.flatten(1).sum(1).double() for v in values]))
    squares, counts, misfits = torch.cat(units, 1)
    if not squares.isfinite().all():
        raise NonFiniteError("images or measurements are not finite; check the data set and the degradation")
    unit = Unit.fit(squares, counts, misfits)
    z = torch.cat(parts) / unit(misfits).to(x).view(-1, 1, 1, 1)
    known = bounds(torch.cat(seen))
    middle = torch.cat([fineness(m, known) for m in measurements]) == 1
    if int(middle.sum()) >= MIDDLE:  # the spectra of other densities are derived from this one
        z = z[middle]
    residual = FittedField.fit(z, grid, torch.zeros(grid.channels, dtype=torch.float64))
    return residual, unit, known


def _with_layout_of(value: Tensor, p: Tensor) -> Tensor:
    """Copy a saved moment into the memory layout of its parameter, which fused optimisers assume."""
    return torch.empty_like(p).copy_(value) if value.shape == p.shape else value.to(p.device, copy=True)


def query(measurement: Measurement, keys: Keys, fraction: float) -> Tensor:
    """Select a random keyed share `fraction` of all pixels, none observed: loss weights (B, 1, H, W) in {0, 1}."""
    if measurement.observed is None:
        raise RecipeError("train.query_fraction needs a mask degradation; leave it out for this one")
    grid = measurement.grid
    observed = measurement.observed.any(1).flatten(1)
    count = round(fraction * grid.pixels)
    rank = keys.permutation("query", grid.pixels).argsort(1)
    order = torch.where(observed, grid.pixels, rank).argsort(1)  # hidden pixels first, in random order
    chosen = torch.zeros_like(observed).scatter_(1, order[:, :count], True) & ~observed
    return chosen.view(-1, 1, *grid.shape).to(measurement.y)
