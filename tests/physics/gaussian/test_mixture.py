"""Mixtures of fields against dense matrices in numpy: weights, posterior, denoiser and samples."""

import math

import numpy as np
import pytest
import torch
from invkit_blur import GaussianBlur
from invkit_color import Bayer
from invkit_sparse import RandomPixels as Sparse
from invkit_superres import BlockMean
from invkit_tomography import Tomography
from scipy.stats import chi2, multivariate_normal
from support.messages import raises

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import HeavyTailedFields, MixtureFields
from invkit.physics.gaussian import MaternField, SquaredExponentialField
from invkit.physics.gaussian.mixture import Component, GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.measurement import Noise, measure

GRID = Grid(5, 6)
SIZE = GRID.channels * GRID.pixels
SEVERAL = GaussianMixture(
    (
        Component(MaternField(std=0.3, length=0.2, exponent=2.0, color=0.5), 0.5, ((0, 0, 0.2), (1, 0, 0.3))),
        Component(MaternField(std=0.2, length=0.4, exponent=3.0), 0.3, ((0, 2, -0.4),), scale=1.5),
        Component(SquaredExponentialField(std=0.4, length=0.2, color=0.2, basis="periodic"), 0.2),
    )
)
TAILS = HeavyTailedFields(nodes=5, colors=3).law()
LAWS = {"several": SEVERAL, "tails": TAILS}
OPERATORS = {
    "mask": Sparse(fraction=0.2), "bayer": Bayer(), "superres": BlockMean(factor=2), "blur": GaussianBlur(width=0.2),
    "tomography": Tomography(angles=5),
}  # fmt: skip


def cosine_waves(component, grid=GRID):
    """The mean image, pixel by pixel."""
    mean = np.zeros(grid.picture)
    for c in range(grid.channels):
        for i in range(grid.height):
            for j in range(grid.width):
                for k, l, a in component.waves:
                    row = math.cos(math.pi * k * (i + 0.5) / grid.height)
                    mean[c, i, j] += a * row * math.cos(math.pi * l * (j + 0.5) / grid.width)
    return mean.ravel()


def dense(law, grid=GRID):
    """Weights, means (N,) and covariances (N, N) of the components in numpy."""
    n = grid.channels * grid.pixels
    eye = torch.eye(n, dtype=torch.float64).view(n, *grid.picture)
    total = sum(component.weight for component in law.components)
    return [
        (c.weight / total, cosine_waves(c, grid), c.scale**2 * c.field.covariance(eye, grid).view(n, n).numpy())
        for c in law.components
    ]


def softmax(logs):
    weights = np.exp(np.array(logs) - max(logs))
    return weights / weights.sum()


def brute_force(law, a, y, sigma, grid=GRID):
    """Posterior weights, and mean and covariance under each component, given `y = a x + sigma e`."""
    logs, means, covariances = [], [], []
    for weight, mean, covariance in dense(law, grid):
        system = a @ covariance @ a.T + sigma**2 * np.eye(len(a))
        logs.append(math.log(weight) + multivariate_normal(a @ mean, system, allow_singular=True).logpdf(y))
        gain = np.linalg.solve(system, a @ covariance).T
        means.append(mean + gain @ (y - a @ mean))
        covariances.append(covariance - gain @ a @ covariance)
    return softmax(logs), np.array(means), np.array(covariances)


def problem(name, law, sigma, count=3):
    keys = Keys.of(0, f"{name}/{sigma}", range(count))
    operator = OPERATORS[name].sample(keys, GRID)
    m = measure(operator, law.sample(keys, GRID).double(), Noise(sigma=sigma), keys)
    matrices = []
    for i in range(count):
        a = operator[i : i + 1].repeat(SIZE).forward(torch.eye(SIZE, dtype=torch.float64).view(SIZE, *GRID.picture))
        a = a.flatten(1).T.numpy()
        kept = np.abs(a).sum(1) > 0
        matrices.append((a[kept], m.y[i].flatten().numpy()[kept]))
    return m, matrices


@pytest.mark.parametrize("sigma", [0.3, 0.02])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("law", LAWS)
def test_weights_and_mean_with_noise(law, name, sigma):
    m, matrices = problem(name, LAWS[law], sigma)
    posterior = MixturePosterior(LAWS[law], m)
    mean = posterior.mean().flatten(1).numpy()
    for i, (a, y) in enumerate(matrices):
        weights, means, covariances = brute_force(LAWS[law], a, y, sigma)
        np.testing.assert_allclose(posterior.weights[i].numpy(), weights, rtol=0, atol=1e-6)
        std = math.sqrt((weights[:, None] * np.diagonal(covariances, axis1=1, axis2=2)).sum(0).mean())
        assert np.sqrt(np.square(mean[i] - weights @ means).mean()) < 0.02 * std


@pytest.mark.parametrize("name", ["mask", "bayer", "superres"])
@pytest.mark.parametrize("law", LAWS)
def test_weights_without_noise(law, name):
    """Up to the small noise that is assumed."""
    m, matrices = problem(name, LAWS[law], 0.0)
    found = MixturePosterior(LAWS[law], m).weights.numpy()
    for i, (a, y) in enumerate(matrices):
        np.testing.assert_allclose(found[i], brute_force(LAWS[law], a, y, 1e-5)[0], rtol=0, atol=0.02)


@pytest.mark.parametrize("law", LAWS)
def test_samples_have_the_weights_and_moments(law):
    m, [(a, y)] = problem("mask", LAWS[law], 0.5, count=1)
    weights, means, covariances = brute_force(LAWS[law], a, y, 0.5)
    assert weights.max() < 0.95  # a case of doubt
    count = 4000
    x = MixturePosterior(LAWS[law], m).sample(Keys.of(1, "draws", [0]), count)[:, 0].double()
    found = LAWS[law].responsibilities(x).mean(0).numpy()
    np.testing.assert_allclose(found, weights, rtol=0, atol=0.03)
    mean = weights @ means
    between = np.einsum("m,mi,mj->ij", weights, means - mean, means - mean)
    covariance = np.einsum("m,mij->ij", weights, covariances) + between
    x = x.flatten(1).numpy()
    assert np.square((x.mean(0) - mean) / np.sqrt(covariance.diagonal() / count)).mean() < 2
    norm = np.linalg.norm(covariance)
    by_chance = math.sqrt((1 + (np.trace(covariance) / norm) ** 2) / count)  # of Gaussian draws
    assert np.linalg.norm(np.cov(x.T) - covariance) < 1.5 * by_chance * norm


def test_samples_do_not_depend_on_the_batch():
    m, _ = problem("mask", SEVERAL, 0.3)
    whole = MixturePosterior(SEVERAL, m).sample(Keys.of(1, "draws", range(3)), 5)
    alone = [MixturePosterior(SEVERAL, m[i : i + 1]).sample(Keys.of(1, "draws", [i]), 5) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variance", [2.0, 0.1, 1e-3])
@pytest.mark.parametrize("law", LAWS)
def test_denoiser(law, variance):
    x = LAWS[law].sample(Keys.of(0, "x", range(4)), GRID).double()
    x = x + math.sqrt(variance) * Keys.of(0, "n", range(4)).normal("n", *GRID.picture)
    x.requires_grad_()
    found = LAWS[law].denoise(x, variance)
    for i, row in enumerate(x.detach().flatten(1).numpy()):
        weights, means, _ = brute_force(LAWS[law], np.eye(SIZE), row, math.sqrt(variance))
        np.testing.assert_allclose(found[i].detach().flatten().numpy(), weights @ means, rtol=0, atol=1e-9)
    # Tweedie's formula with the density itself, by automatic differentiation
    logs = LAWS[law]._separated(x, GRID, variance)[0].logsumexp(1).sum()
    score = torch.autograd.grad(logs, x)[0]
    torch.testing.assert_close(x + variance * score, found, rtol=0, atol=1e-8)


@pytest.mark.parametrize("law", LAWS)
def test_responsibilities_of_whole_images(law):
    x = LAWS[law].sample(Keys.of(3, "x", range(6)), GRID)
    found = LAWS[law].responsibilities(x)
    for i, row in enumerate(x.double().flatten(1).numpy()):
        weights = brute_force(LAWS[law], np.eye(SIZE), row, 1e-3)[0]
        np.testing.assert_allclose(found[i].numpy(), weights, rtol=0, atol=0.02)


def test_moments_of_the_mixture():
    x = SEVERAL.sample(Keys.of(0, "many", range(6000)), GRID)
    mean = SEVERAL.centre(GRID, x)
    weights, means, covariances = zip(*dense(SEVERAL), strict=True)
    np.testing.assert_allclose(mean.flatten().numpy(), np.array(weights) @ np.array(means), rtol=0, atol=1e-6)
    assert float((x.mean(0) - mean).square().mean().sqrt()) < 0.012
    assert float((x - mean).square().mean().sqrt()) == pytest.approx(SEVERAL.pixel_std(GRID), rel=0.02)
    second = sum(w * (np.trace(c) + np.square(m).sum()) for w, m, c in zip(weights, means, covariances, strict=True))
    exact = second / SIZE - float(mean.double().square().mean())
    assert SEVERAL.pixel_std(GRID) == pytest.approx(math.sqrt(exact), rel=1e-6)
    counts = SEVERAL.responsibilities(x).mean(0)
    np.testing.assert_allclose(counts.numpy(), weights, rtol=0, atol=0.02)


def test_one_component_is_a_field():
    field = MaternField(std=0.3, length=0.2, exponent=2.0)
    law, keys = GaussianMixture.of(field), Keys.of(0, "one", range(3))
    assert torch.equal(law.sample(keys, GRID), field.sample(Keys.of(0, "one", range(3)), GRID))
    assert GaussianMixture.of(law) is law and law.pixel_std(GRID) == pytest.approx(field.pixel_std(GRID))


def test_tails_are_those_of_the_scale():
    """The scales are quantiles of Student's t with the density of its scale: the fourth moment tells the tails."""
    scales = np.array([component.scale for component in HeavyTailedFields(degrees=5, nodes=64).law().components])
    levels = chi2.cdf(5 / scales**2, 5)
    np.testing.assert_allclose(levels, 1 - (np.arange(64) + 0.5) / 64, atol=1e-9)
    assert np.square(scales).mean() == pytest.approx(5 / 3, rel=0.05)
    x = HeavyTailedFields(colors=1).open("train", Grid(8, 8, 1), 0)[range(4000)]
    assert float((x**4).mean() / (x**2).mean() ** 2) > 6  # 3 for a Gaussian field


def test_the_default_is_uncertain_given_a_tenth_of_the_pixels_and_certain_given_all():
    law, grid, keys = MixtureFields(colors=1).law(), Grid(16, 16, 1), Keys.of(0, "doubt", range(96))
    x = law.sample(keys, grid)
    m = measure(Sparse(fraction=0.1).sample(keys, grid), x, Noise(sigma=0.7), keys)
    weights = MixturePosterior(law, m).weights
    entropy = -(weights * weights.clamp(min=1e-300).log()).sum(1)
    assert float(entropy.mean()) > 0.5 and float((weights.amax(1) < 0.9).double().mean()) > 0.5
    assert float(law.responsibilities(x).amax(1).min()) > 0.99
    assert float((x.abs() > 1).double().mean()) < 2e-3


def test_what_cannot_be_solved_says_so(monkeypatch):
    m, _ = problem("blur", SEVERAL, 0.3)
    monkeypatch.setattr("invkit.physics.gaussian.mixture_posterior.DENSE_VALUES", 50)
    with raises(Unavailable, "at most 50 measured values", f"got {SIZE}"):
        MixturePosterior(SEVERAL, m).mean()
    padded = GaussianMixture.of(MaternField(padding=0.5))
    assert MixturePosterior(padded, m).mean().isfinite().all()
    with raises(Unavailable, "without padding"):
        padded.denoise(m.y, 0.1)
