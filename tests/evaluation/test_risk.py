"""The risk-controlling factor: its bound, its guarantee, and what it covers on fields whose posterior is known."""

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from support.evaluations import Coins, protocol_of
from support.messages import missing

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields
from invkit.evaluation import risk
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.risk import FACTORS, bounded, control, least, uncovered
from invkit.evaluation.settings import Eval
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Noise
from invkit.reconstructors.base import Reconstructor

ALPHA, DELTA = 0.1, 0.1
FIELD = MaternField(std=0.5, length=0.25, exponent=2.0)
SEEDS = [pytest.param(seed, marks=[] if seed < 1 else pytest.mark.slow) for seed in range(20)]


def upper_bound(losses, delta):
    """Bates et al. 2021, proposition 5, image by image: the mean whose capital is 1 / delta."""

    def excess(mean):
        capital, most, total, squares, variance = 1.0, 0.0, 0.5, 0.25, 0.25
        for i, loss in enumerate(losses, 1):
            bet = min(1.0, math.sqrt(2 * math.log(1 / delta) / (len(losses) * variance)))
            capital *= 1 - bet * (loss - mean)
            most = max(most, capital)
            total += loss
            squares += (loss - total / (1 + i)) ** 2
            variance = squares / (1 + i)
        return most - 1 / delta

    return brentq(excess, 0, 1) if excess(1) > 0 else 1.0


def test_the_bound_is_that_of_the_paper():
    losses = Keys.of(0, "losses", range(40)).uniform("u", 8).double().numpy() * np.linspace(0.02, 0.6, 8)
    bounds = [upper_bound(column, DELTA) for column in losses.T]
    assert min(bounds) < 0.1 < max(bounds)
    for bound, alpha in ((bound, bound + shift) for bound in bounds for shift in (-1e-6, 1e-6)):
        assert (bounded(losses, alpha, DELTA) == (np.array(bounds) < alpha)).all(), (bound, alpha)


def test_losses_are_the_shares_of_pixels_outside():
    keys = Keys.of(1, "images", range(4))
    error, deviation = keys.normal("e", 2, 6, 6), keys.uniform("d", 2, 6, 6) + 0.1
    weight = (keys.uniform("w", 1, 6, 6) < 0.7).float().expand(-1, 2, -1, -1)
    losses = uncovered(error, deviation, weight)
    for i in (0, 100, 200, 359):
        outside = (error.double().abs() > FACTORS[i] * deviation.double()).double() * weight
        assert torch.allclose(losses[:, i], outside.sum((1, 2, 3)) / weight.sum((1, 2, 3)))
    assert uncovered(error, deviation, 0 * weight).isnan().all()
    assert (uncovered(error, 0 * deviation, weight) == 1).all() and (
        uncovered(0 * error, 0 * deviation, weight) == 0
    ).all()


def controlled(found=control, times=300, size=120) -> bool:
    """Whether the expected loss exceeds alpha in at most a share delta of calibrations, images all covered or not at all."""
    names = [str(i) for i in range(size)]
    widths = Keys.of(2, "widths", range(times)).normal("x", size).abs().double().numpy()
    factors = [
        found((row[:, None] > FACTORS).astype(float), names, i, ALPHA, DELTA)["factor"] for i, row in enumerate(widths)
    ]
    misses = np.mean(2 * norm.sf(factors) > ALPHA)
    return misses <= DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / times)


def mutant(old: str, new: str):
    source = inspect.getsource(risk)
    assert source.count(old) == 1
    space = {"__name__": "mutant"}
    exec(compile(source.replace(old, new), "mutant", "exec"), space)
    return space["control"]


def test_the_expected_loss_is_controlled():
    assert controlled()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return capital > math.log(1 / delta)", "return losses.mean(0) < alpha"),
        ("bounded(chosen, alpha, delta)", "bounded(chosen, 2 * alpha, delta)"),
    ],
)
def test_otherwise_it_is_not(old, new):
    """The share itself instead of its bound; another level."""
    assert not controlled(mutant(old, new))


def test_too_few_images_are_counted():
    for alpha, delta in ((0.1, 0.1), (0.05, 0.1), (0.2, 0.05)):
        enough = least(alpha, delta)
        names = [str(i) for i in range(enough)]
        assert control(np.zeros((enough, len(FACTORS))), names, 0, alpha, delta)["factor"] == FACTORS[0]
        found = control(np.zeros((enough - 1, len(FACTORS))), names[1:], 0, alpha, delta)
        assert found["factor"] is None and not missing(found["reason"], enough, enough - 1)
    crops = control(np.zeros((300, len(FACTORS))), [str(i // 30) for i in range(300)], 0, ALPHA, DELTA)
    assert not missing(crops["reason"], 50, "there are 10")
    hopeless = control(np.ones((100, len(FACTORS))), [str(i) for i in range(100)], 0, ALPHA, DELTA)
    assert hopeless["factor"] is None and "no factor" in hopeless["reason"]


def test_one_larger_factor_that_fails_is_not_passed_over():
    """The risk has to be controlled at all larger factors."""
    losses = np.zeros((100, len(FACTORS)))
    losses[:, 200] = 1.0
    assert control(losses, [str(i) for i in range(100)], 0, ALPHA, DELTA)["factor"] == FACTORS[201]


class Posterior(Reconstructor):
    """The exact posterior of a field, with the deviation of its samples scaled."""

    name, readouts = "model", ("sample",)

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def nfe(self, readout):
        return 0

    def mean(self, measurement):
        return GaussianPosterior(FIELD, measurement).mean()

    def sample(self, measurement, keys, count):
        mean = self.mean(measurement)
        return measurement.paste(mean + self.scale * (GaussianPosterior(FIELD, measurement).sample(keys, count) - mean))


@pytest.mark.parametrize("scale", [0.7, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_nine_tenths_of_new_fields_are_covered(seed, scale):
    """Of fields that calibrated nothing; a posterior that is 30 % too narrow covers too little without the factor."""
    grid, method, data = Grid(12, 12), Posterior(scale), Fields(field=FIELD)
    settings = Eval(images=128, samples=19, batch=64, save=1, save_samples=1)
    protocol = protocol_of(settings, Noise(), seed=seed, degradation=Coins(share=0.15))
    (entry,) = evaluate_rows([method], {grid: data.open("test", grid, seed)}, protocol).table["calibration"]
    found = entry["risk"]
    assert (found["images"], found["held_out"], found["alpha"]) == (64, 64, ALPHA)
    assert found["uncovered"]["lo"] < ALPHA
    ids = range(200)
    truth, measurement = protocol.measure(data.open("train", grid, seed), ids)
    samples = method.sample(measurement, Keys.of(seed, "new", ids), 19)
    hidden = (~measurement.observed).expand_as(truth)
    error, deviation = (truth - samples.mean(0)).abs()[hidden], samples.std(0)[hidden]
    assert (error <= found["factor"] * deviation).double().mean() >= 0.9
    low, high = samples.min(0).values, samples.max(0).values
    plain = ((low <= truth) & (truth <= high))[hidden].double().mean()
    assert plain < 0.8 if scale < 1 else abs(plain - 0.9) < 0.02  # the mutant: the interval as it is
