"""Solvers guided by a likelihood against posteriors by quadrature: photon counts, rounded and saturated values, on a 2x2 grid."""

import pytest
import torch
from invkit_photon import LowLight
from invkit_sensor import Converter, Saturation
from support.brute_force import FIELD, GRID, moments

from invkit.core.keys import Keys
from invkit.evaluation.metrics import Unavailable
from invkit.physics.gaussian import WhiteField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.noise.counts import Poisson, PoissonGaussian
from invkit.physics.noise.quantised import Uniform
from invkit.physics.noise.speckle import Gamma, SaltPepper
from invkit.physics.operators.separable import Separable
from invkit.reconstructors.zeroshot import SOLVERS, FieldPrior, ZeroShot, base

COUNT = 500
PRIOR = FieldPrior(FIELD, WhiteField(std=0.5, reference=2))
KEYS = Keys.of(0, "likelihood", [0])
IDENTITY = Separable(1, GRID)
CLIPPED = Saturation(exposure=1.6).sample(KEYS, GRID)
CASES = {
    "poisson": (IDENTITY, Poisson(peak=8)),
    "low light": (LowLight(gamma=2.0).sample(KEYS, GRID), PoissonGaussian(peak=20, read=1.0)),
    "quantised": (IDENTITY, Uniform(step=0.6, sigma=0.1)),
    "saturated": (CLIPPED, Noise(sigma=0.2)),
    "converter": (IDENTITY, Converter(bits=2, read=0.15)),
    "speckle": (IDENTITY, Gamma(looks=4)),
    "impulses": (IDENTITY, SaltPepper(share=0.2, sigma=0.2)),
}
# At most so many posterior standard deviations from the mean (root mean square), and ratios of standard deviations between these.
BOUNDS = {
    ("tds", "poisson"): (0.35, 0.85, 1.15), ("tds", "quantised"): (0.2, 0.8, 1.15), ("tds", "saturated"): (0.3, 0.8, 1.15),
    ("tds", "low light"): (0.3, 0.8, 1.15), ("tds", "converter"): (0.15, 0.8, 1.15), ("tds", "speckle"): (0.15, 0.8, 1.15),
    ("daps", "poisson"): (0.3, 0.9, 1.25), ("daps", "quantised"): (0.15, 0.9, 1.2), ("daps", "saturated"): (0.5, 1.1, 1.9),
    ("daps", "low light"): (0.25, 0.9, 1.25), ("daps", "converter"): (0.15, 0.9, 1.2), ("daps", "impulses"): (0.2, 0.9, 1.3),
    ("mmps", "quantised"): (0.25, 0.8, 1.1), ("mmps", "converter"): (0.15, 0.85, 1.15), ("dps", "quantised"): (0.35, 0.4, 0.7),
}  # fmt: skip
SETTINGS = {"tds": {"particles": 32, "calls": 3200, "products": 2, "check_prior": False}}


@pytest.fixture(autouse=True)
def together(monkeypatch):
    """All samples at once: images of four pixels need little memory."""
    monkeypatch.setattr(base, "CHUNK", 10**6)


def observed(name):
    operator, law = CASES[name]
    x = torch.tensor([[[[-0.3, 0.1], [0.4, 0.6]]]], dtype=torch.float64)
    return measure(operator, x, law, Keys.of(3, "y", [0]))


def draw(solver, measurement, count=COUNT, prior=PRIOR):
    row = ZeroShot(SOLVERS[solver].model_validate({"prior": "gaussian", **SETTINGS.get(solver, {})}), prior)
    return row.sample(measurement, Keys.of(1, "draws", [0]), count).flatten(1).double()


def misses(samples, measurement):
    mean, std = moments(measurement)
    return float(((samples.mean(0) - mean) / std).square().mean().sqrt()), float((samples.std(0) / std).mean())


def within(solver, name, found):
    most, low, high = BOUNDS[solver, name]
    return found[0] < most and low < found[1] < high


FAST = [("tds", "poisson"), ("tds", "quantised"), ("tds", "saturated"), ("daps", "quantised"), ("mmps", "converter")]


@pytest.mark.parametrize(
    ("solver", "name"), [pytest.param(*pair, marks=() if pair in FAST else pytest.mark.slow) for pair in BOUNDS]
)
def test_samples_have_the_moments_of_the_posterior(solver, name):
    m = observed(name)
    found = misses(draw(solver, m), m)
    assert within(solver, name, found), found
    other = Measurement(m.operator, m.y.roll(1, 2), noise=m.noise)
    assert not within(solver, name, misses(draw(solver, other, 200), m))


def test_quadrature_has_the_moments_of_a_posterior_in_closed_form():
    m = measure(IDENTITY, FIELD.sample(KEYS[:], GRID).double(), Noise(sigma=0.4), KEYS[:])
    mean, std = moments(m)
    exact = GaussianPosterior(FIELD, m, tolerance=1e-6)
    torch.testing.assert_close(exact.mean().flatten(), mean, rtol=0, atol=1e-3)
    own = exact.sample(KEYS.child("s"), 4000).flatten(1).std(0)
    assert float((own / std - 1).abs().max()) < 0.05


@pytest.mark.parametrize("solver", ["pigdm", "ddrm", "diffpir", "ddnm"])
def test_solvers_for_white_gaussian_noise_say_so(solver):
    with pytest.raises(Unavailable, match=r"requires white Gaussian noise of one level, not Poisson\(peak=8"):
        draw(solver, observed("poisson"), 2)
    with pytest.raises(Unavailable, match=f"{solver} requires a linear operator, and Clip is not linear"):
        draw(solver, observed("saturated"), 2)


@pytest.mark.parametrize("solver", ["dps", "daps", "mmps", "tds"])
def test_solvers_with_a_likelihood_require_its_gradient(solver):
    m = measure(IDENTITY, FIELD.sample(KEYS[:], GRID).double(), Uniform(step=0.5, sigma=0), KEYS[:])
    with pytest.raises(Unavailable, match="requires a likelihood with a gradient"):
        draw(solver, m, 2)
