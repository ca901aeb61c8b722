"""Draws of posteriors in closed form, and what goes wrong with posterior samples: the mutants that metrics have to tell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics import Outcome
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

GRID = Grid(16, 16, 1)
FIELD = MaternField(std=0.5, length=0.25, exponent=2.0)
HOLE = slice(3, 13)  # rows and columns


@dataclass(frozen=True, eq=False)
class Draws:
    """Truths with samples of their posterior, a mixture of Gaussians whose covariances are equal."""

    outcome: Outcome  # with K samples (K, B, C, H, W) and the posterior mean (B, C, H, W)
    deviation: Tensor  # of the posterior, (B, C, H, W)
    others: Tensor  # (K, B, C, H, W): the samples, all of them from the component with the largest weight


@lru_cache(maxsize=2)
def _solved(hole: bool) -> tuple[Tensor, ...]:
    """Observed pixels (HW,), root of the prior, precision of y, gain, and root of the posterior's covariance for one mask."""
    n = GRID.pixels
    prior = FIELD.covariance(torch.eye(n, dtype=torch.float64).view(n, 1, *GRID.shape), GRID).view(n, n)
    mask = Keys.of(0, "posteriors", [0]).uniform("mask", *GRID.shape)[0] < 0.1
    if hole:
        mask[HOLE, HOLE] = False
    observed = mask.flatten()
    precision = torch.linalg.inv(prior[observed][:, observed])
    gain = prior[:, observed] @ precision
    return observed, _root(prior), precision, gain, _root(prior - gain @ prior[observed])


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * values.clamp(min=0).sqrt()


def draws(seed: int, images: int = 200, samples: int = 19, modes: bool = False) -> Draws:
    """Images of a Gaussian field of which a tenth of the pixels is observed.

    With `modes`, a bump is added to the field or subtracted from it, with probability 1/2, in a hole without observed pixels.
    """
    observed, prior, precision, gain, root = _solved(modes)
    keys = Keys.of(seed, "posteriors/draws", range(images))
    bump = torch.zeros(GRID.shape, dtype=torch.float64)
    if modes:
        bump[HOLE, HOLE] = 0.6
    signs = torch.stack([bump.flatten(), -bump.flatten()])  # (2, HW)
    truth = keys.normal("truth", GRID.pixels).double() @ prior.T
    truth = truth + signs[(keys.uniform("sign", 1)[:, 0] < 0.5).long()]
    errors = truth[:, None, observed] - signs[:, observed]  # (B, 2, n)
    weights = (-0.5 * torch.einsum("bmi,ij,bmj->bm", errors, precision, errors)).softmax(1)
    means = signs + errors @ gain.T  # (B, 2, HW)
    mean = (weights[..., None] * means).sum(1)
    variance = root.square().sum(1) + (weights[..., None] * (means - mean[:, None]).square()).sum(1)
    drawn = keys.fork(samples)
    noise = (drawn.normal("noise", GRID.pixels).double() @ root.T).view(samples, images, -1)
    second = (drawn.uniform("component", 1).view(samples, images) > weights[:, 0]).long()
    images_of = torch.arange(images)
    found, others = (means[images_of, chosen] + noise for chosen in (second, weights.argmax(1).expand(samples, -1)))
    mask = Mask(observed.view(1, 1, *GRID.shape).expand(images, -1, -1, -1), GRID.channels)
    truth = truth.view(-1, *GRID.picture)
    measurement = Measurement(mask, mask.forward(truth))
    found, others = (measurement.paste(x.reshape(samples, -1, *GRID.picture)) for x in (found, others))
    mean, deviation = (x.view(-1, *GRID.picture) for x in (mean, variance.sqrt()))
    return Draws(Outcome(truth, measurement, "sample", found[0], found, mean), deviation, others)


def spoiled(exact: Draws, name: str) -> Outcome:
    """The samples of a posterior with the fault `name`."""
    outcome = exact.outcome
    samples, mean, keys = outcome.samples, outcome.mean, Keys.of(0, f"mutants/{name}", range(len(outcome.truth)))
    assert samples is not None and mean is not None
    changed = outcome.measurement.paste(MUTANTS[name](exact, samples, mean, keys))
    return replace(outcome, samples=changed, estimate=changed[0])


def _permuted(exact: Draws, samples: Tensor, mean: Tensor, keys: Keys) -> Tensor:
    order = keys.uniform("order", len(samples), *samples.shape[2:]).transpose(0, 1).argsort(0)
    return samples.gather(0, order)


def _one_number(exact: Draws, samples: Tensor, mean: Tensor, keys: Keys) -> Tensor:
    return mean + exact.deviation * keys.normal("z", len(samples)).T[:, :, None, None, None]


MUTANTS: dict[str, Callable[[Draws, Tensor, Tensor, Keys], Tensor]] = {
    "pixels permuted": _permuted,
    "one number": _one_number,
    "sharpened": lambda exact, samples, mean, keys: mean + 0.9 * (samples - mean),
    "shifted": lambda exact, samples, mean, keys: samples + 0.1 * exact.deviation,
    "mode dropped": lambda exact, samples, mean, keys: exact.others,
}
