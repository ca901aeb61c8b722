"""Noise laws: densities of SciPy, moments of the samples, and the settings of a recipe."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from scipy import stats

from invkit.core.errors import RecipeError, Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.noise import NOISES, facts, white_sigma
from invkit.physics.noise.counts import Poisson, PoissonGaussian, poisson
from invkit.physics.noise.gaussian import GaussianOfEach
from invkit.physics.noise.quantised import Uniform
from invkit.physics.noise.speckle import Gamma, SaltPepper
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable
from invkit.recipe.recipe import load_recipe

CLEAN = torch.tensor([-0.7, -0.1, 0.3, 0.8], dtype=torch.float64)
MANY = 20_000


def drawn(law, clean=CLEAN, count=MANY):
    return law.sample(Keys.of(0, "noise", range(count)), clean.expand(count, -1))


@dataclass(frozen=True)
class Extreme:
    """Keys whose uniform numbers are all the smallest or the largest one."""

    value: float

    def uniform(self, label, *shape):
        return torch.full((1, *shape), self.value)


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
def test_counts_are_finite_at_the_ends_of_the_uniform_numbers(value):
    rate = torch.tensor([[0.0, 1e-6, 0.5, 40.0, 9000.0]], dtype=torch.float64)
    found = poisson(Extreme(value), rate)[0].tolist()
    assert found == pytest.approx(stats.poisson.ppf(2.0**-49 if value == 0 else 1 - 2.0**-49, rate[0].numpy()), abs=1)


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.7, 5.0, 40.0, 3000.0])
def test_counts_have_a_poisson_distribution(rate):
    n = poisson(Keys.of(0, "counts", range(200)), torch.full((200, 100), rate, dtype=torch.float64)).flatten().numpy()
    low, high = int(n.min()), int(n.max())
    edges = [
        q for q in sorted({int(stats.poisson.ppf(p, rate)) for p in (0.1, 0.25, 0.5, 0.75, 0.9)}) if low <= q < high
    ]
    for q in edges:
        share, expected = (n <= q).mean(), stats.poisson.cdf(q, rate)
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / len(n)), (q, share, expected)
    assert edges or rate < 0.1
    assert abs(n.mean() - rate) <= 4.5 * math.sqrt(rate / len(n))


def change(law, y, clean):
    """The difference of log likelihoods at two noiseless values."""
    y = torch.as_tensor(y, dtype=torch.float64)
    return law.log_likelihood(y, clean[1:]) - law.log_likelihood(y, clean[:-1])


def against(law, y, logpdf, rtol=1e-6):
    expected = torch.tensor([logpdf(y, float(b)) - logpdf(y, float(a)) for a, b in itertools.pairwise(CLEAN)])
    torch.testing.assert_close(change(law, y, CLEAN), expected.double(), rtol=rtol, atol=1e-8)


@pytest.mark.parametrize("y", [-1.0, -0.2, 0.4, 1.6])
def test_log_likelihoods_are_those_of_scipy(y):
    against(Noise(sigma=0.3), y, lambda y, a: stats.norm.logpdf(y, a, 0.3))
    counts = round((y + 1) * 5)
    against(Poisson(peak=10), counts / 5 - 1, lambda _, a: stats.poisson.logpmf(counts, 5 * (a + 1)))

    def with_read_noise(y, a):
        n = range(200)
        weights = stats.poisson.pmf(n, 5 * (a + 1))
        return math.log(sum(weights * stats.norm.pdf(5 * (y + 1), n, 1.5)))

    against(PoissonGaussian(peak=10, read=1.5), y, with_read_noise, rtol=1e-5)
    step = round(y / 0.5) * 0.5
    against(
        Uniform(step=0.5, sigma=0.2), step,
        lambda y, a: math.log(stats.norm.cdf(y + 0.25, a, 0.2) - stats.norm.cdf(y - 0.25, a, 0.2)) if y < a
        else math.log(stats.norm.sf(y - 0.25, a, 0.2) - stats.norm.sf(y + 0.25, a, 0.2)),
    )  # fmt: skip
    if y > -1:
        against(Gamma(looks=3), y, lambda y, a: stats.gamma.logpdf((y + 1) / 2, 3, scale=(a + 1) / 6))
    against(
        SaltPepper(share=0.2, sigma=0.1), y,
        lambda y, a: math.log(sum(w * stats.norm.pdf(y, m, 0.1) for w, m in ((0.8, a), (0.1, -1), (0.1, 1)))),
    )  # fmt: skip


@pytest.mark.parametrize(
    "law",
    [Noise(sigma=0.2), Poisson(peak=6), PoissonGaussian(peak=6, read=1.5), Uniform(step=0.1, sigma=0.05), Gamma(looks=3),
     SaltPepper(share=0.2)],
    ids=lambda law: type(law).__name__,
)  # fmt: skip
def test_samples_have_the_stated_variance(law):
    squares = (drawn(law) - CLEAN).square()
    error = (squares.mean(0) - law.variance(CLEAN)).abs()
    assert bool((error < 5 * squares.std(0) / MANY**0.5 + 0.02 * law.variance(CLEAN)).all()), (squares.mean(0), law)


def test_gaussian_noise_is_what_it_was():
    keys, operator = Keys.of(0, "m", range(2)), Mask(torch.tensor([[[[True, False]]], [[[True, True]]]]), 1)
    x = torch.rand(2, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    m = measure(operator, x, Noise(sigma=0.3), keys)
    expected = operator.forward(x) + 0.3 * operator.measured(Keys.of(0, "m", range(2)).normal("noise", 1, 1, 2))
    assert torch.equal(m.y, expected) and m.sigma == 0.3 and m.exact is None
    assert measure(operator, x, Noise(), keys).exact is not None
    assert Measurement(operator, x, 0.5).noise == Noise(sigma=0.5)


def test_a_range_is_drawn_for_each_image():
    noise, keys = Noise(sigma=(0.1, 0.5)), Keys.of(0, "range", range(500))
    operator = Separable(500, Grid(8, 8, 1))
    m = measure(operator, torch.zeros(500, 1, 8, 8), noise, keys)
    assert isinstance(m.noise, GaussianOfEach)
    std, level = m.y.std((1, 2, 3)), m.noise.sigma
    assert float((std / level - 1).square().mean().sqrt()) < 1.3 / 128**0.5
    assert 0.1 <= float(level.min()) < 0.12 and 0.48 < float(level.max()) <= 0.5
    assert torch.equal(m[3:5].noise.sigma, level[3:5]) and torch.equal(m.repeat(2).noise.sigma, level.repeat(2))
    alone = measure(Separable(1, Grid(8, 8, 1)), torch.zeros(1, 1, 8, 8), noise, Keys.of(0, "range", [7]))
    assert torch.equal(alone.y, m.y[7:8])
    assert abs(float(m.noise.variance(m.y).mean() / noise.variance(m.y).mean()) - 1) < 0.1
    with pytest.raises(Unavailable, match="requires white Gaussian noise of one level, not Gaussian noise of 0"):
        white_sigma(m.noise, "x")


def test_hidden_values_have_no_noise_and_no_likelihood():
    mask = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    operator, x = Mask(mask, 1), torch.zeros(3, 1, 4, 4)
    m = measure(operator, x, Poisson(peak=4), Keys.of(0, "m", range(3)))
    assert bool((m.y[~mask] == 0).all()) and bool((m.score(x)[~mask] == 0).all()) and m.exact is None
    kept = m.noise.log_likelihood(m.y, x)[0][mask[0]].sum()
    torch.testing.assert_close(m.log_likelihood(x)[0], kept)
    assert "Poisson(peak=4.0)" in repr(m)


def test_what_cannot_be_represented_is_refused():
    m = Measurement(Separable(1, Grid(2, 2, 1)), torch.zeros(1, 1, 2, 2), noise=Uniform(step=0.5, sigma=0))
    with pytest.raises(Unavailable, match=r"requires a likelihood with a gradient, which Uniform\(step=0.5"):
        m.score(m.y)
    with pytest.raises(Unavailable, match="requires white Gaussian noise of one level, not Uniform"):
        _ = m.sigma


RECIPE = "data: {{name: photos}}\ndegradation: {{name: denoise}}\nnoise: {}\n"


def test_noise_of_a_recipe(write):
    def noise(text):
        return load_recipe(write(RECIPE.format(text))).noise

    assert noise("{sigma: 0.1}") == Noise(sigma=0.1) and noise("{name: gaussian, sigma: [0.1, 0.2]}").white is None
    assert noise("{name: poisson, peak: 10}") == Poisson(peak=10) and noise("poisson") == Poisson()
    assert {type(noise(name)) for name in NOISES} == set(NOISES.values())
    recipe = load_recipe(write(RECIPE.format("{sigma: 0.1}")), ["noise.name=poisson", "noise.peak=5"])
    assert recipe.noise == Poisson(peak=5)
    for text, said in (
        ("{sigma: -1}", "noise.sigma: should be"),
        ("{sigma: [0.3, 0.1]}", "the lower bound should be first"),
        ("{name: poison}", "did you mean 'poisson'"),
        ("{name: poisson, sigma: 1}", "unknown setting"),
    ):
        with pytest.raises(RecipeError, match=said):
            noise(text)
    assert facts(Noise(sigma=0.1)) == 0.1 and facts(Poisson(peak=5)) == {"law": "Poisson", "peak": 5.0}
