"""What zero-shot solvers draw over the exact denoiser of a Gaussian field, beside its posterior in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.zeroshot_gaussian import TASKS, Bench
from support.exact_prior import MATERN, NOISE
from support.messages import raises

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics import Unavailable
from invkit.physics.gaussian import MaternField, WhiteField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.composed import Composed
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable
from invkit.recipe.recipe import load_recipe
from invkit.reconstructors.zeroshot import SOLVERS as ALL
from invkit.reconstructors.zeroshot import FieldPrior, Prior, ZeroShot, base, dps
from invkit.reconstructors.zeroshot.base import Levels, PointSolver

SOLVERS = {name: cls for name, cls in ALL.items() if not issubclass(cls, PointSolver)}  # those that draw samples
GRID = Grid(10, 10, 1)
PRIOR = FieldPrior(MATERN, NOISE)
PRODUCTS = {"dps": 1, "pigdm": 1, "mmps": 3, "tds": 1}  # vector-Jacobian products per call of the denoiser
SINGLE = [name for name in SOLVERS if name != "tds"]  # those of one state per sample
CHEAP = {"repaint": {"resamplings": 5}, "tds": {"particles": 2, "products": 1}}
BLURRED = [name for name in SINGLE if name != "repaint"]  # every solver that is not for masks alone


def keys(count=2):
    return Keys.of(0, "zeroshot", range(count))


def mask(count=2, grid=GRID):
    order = keys(count).permutation("mask", grid.pixels)
    return Mask((order < round(0.2 * grid.pixels)).view(-1, 1, *grid.shape), grid.channels)


def blur(count=2, grid=GRID):
    """Neighbours averaged along both axes, every second row kept."""
    matrices = [
        0.6 * torch.eye(n, dtype=torch.float64) + 0.3 * torch.ones(n - 1, dtype=torch.float64).diag(1)
        for n in grid.shape
    ]
    return Separable(count, grid, rows=matrices[0][None, ::2], columns=matrices[1][None])


def observe(operator, sigma):
    return measure(operator, MATERN.sample(keys(len(operator)), operator.grid), Noise(sigma=sigma), keys(len(operator)))


def draw(name, measurement, prior: Prior = PRIOR, count=48, **settings):
    row = ZeroShot(SOLVERS[name].model_validate({"prior": "exact", **settings}), prior)
    return row.sample(measurement, Keys.of(1, "draws", range(len(measurement))), count)


def misses(samples, measurement):
    """The error of the mean in posterior deviations (root mean squares), and the ratio of variances."""
    posterior = GaussianPosterior(MATERN, measurement)
    mean, variance = posterior.mean(), posterior.variance(Keys.of(2, "v", range(len(measurement))), 256)
    error = (samples.mean(0) - mean).square().sum() / variance.sum()
    return float(error.sqrt()), float(samples.var(0).sum() / variance.sum())


class Flipped(FieldPrior):
    """Gradients point uphill."""

    def covariance(self, x):
        return -super().covariance(x)


class Silent(FieldPrior):
    """No noise at all."""

    def noise(self, keys, grid, label):
        return torch.zeros(len(keys), *grid.picture)


class Deaf(Mask):
    """What is seen is brought back with the wrong sign."""

    def pinv(self, y):
        return -super().pinv(y)


# By how much they miss at 50 calls: at most so many deviations, and variances between these.
BOUNDS = {
    "mask": {
        "repaint": (0.95, 0.6, 1.15),
        "ddnm": (0.7, 0.45, 0.9),
        "ddrm": (0.7, 0.5, 1.0),
        "dps": (0.35, 0.6, 1.0),
        "pigdm": (0.5, 0.6, 1.1),
        "mmps": (0.3, 0.85, 1.25),
        "diffpir": (0.7, 0.5, 0.9),
        "daps": (0.7, 0.9, 1.6),
    },
    "blur": {
        "ddnm": (0.7, 0.15, 0.32),
        "ddrm": (0.45, 0.7, 1.1),
        "dps": (0.3, 0.35, 0.75),
        "pigdm": (0.3, 0.5, 0.9),
        "mmps": (0.25, 0.85, 1.15),
        "diffpir": (0.25, 0.3, 0.65),
        "daps": (0.25, 0.8, 1.3),
    },
}


def sound(name, found, kind="mask"):
    most, low, high = BOUNDS[kind][name]
    return found[0] < most and low < found[1] < high


@pytest.mark.parametrize("name", SINGLE)
def test_masks(name):
    """Within the bounds, and out of them where the data are another picture's, signs are turned or nothing is random."""
    m = observe(mask(), 0.1)
    found = misses(draw(name, m), m)
    assert sound(name, found), found
    other = Measurement(m.operator, -m.y, m.sigma)
    mutants = [draw(name, other), draw(name, m, Silent(MATERN, NOISE))]
    if name in PRODUCTS:
        mutants += [draw(name, m, Flipped(MATERN, NOISE))]
    if name in ("ddnm", "ddrm", "diffpir"):
        mutants += [draw(name, replace(m, operator=Deaf(m.operator.observed, 1)))]
    for samples in mutants:
        assert not sound(name, misses(samples, m)), misses(samples, m)


@pytest.mark.parametrize("name", BLURRED)
def test_other_operators(name):
    m = observe(blur(), 0.1)
    found = misses(draw(name, m), m)
    assert sound(name, found, "blur"), found
    assert not sound(name, misses(draw(name, Measurement(m.operator, -m.y, m.sigma)), m), "blur")


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in PRODUCTS])
@pytest.mark.parametrize("operator", [mask(), blur()], ids=["mask", "blur"])
def test_data_without_noise_are_met(name, operator):
    if name == "repaint" and not isinstance(operator, Mask):
        pytest.skip("for masks")
    m = observe(operator, 0.0)
    x = draw(name, m, count=2, calls=10).flatten(0, 1)
    torch.testing.assert_close(m.operator.repeat(2).forward(x), m.y.repeat(2, 1, 1, 1), rtol=0, atol=1e-4)


def test_ddnm_and_diffpir_are_one_algorithm_without_noise_in_the_data():
    m = observe(blur(), 0.0)
    same = {"levels": Levels(sigma_max=6, sigma_min=0.1)}
    other = draw("diffpir", m, count=1, **same)
    torch.testing.assert_close(draw("ddnm", m, count=1, **same), other, rtol=0, atol=1e-5)
    assert float((draw("ddnm", m, count=1, eta=0.85, **same) - other).abs().max()) > 0.1


def test_solvers_say_where_they_have_no_place():
    m = observe(blur(), 0.0)
    with raises(Unavailable, "repaint"):
        draw("repaint", m)
    with raises(Unavailable, "ddrm"):
        draw("ddrm", observe(Composed((blur(), mask(grid=Grid(5, 10, 1)))), 0.1), count=1)


@pytest.mark.parametrize("name", SOLVERS)
def test_calls_are_counted_and_no_more_are_made(name):
    class Counting(FieldPrior):
        def denoise(self, x, sigma):
            seen.append(sigma)
            return super().denoise(x, sigma)

    seen: list[float] = []
    row = ZeroShot(
        SOLVERS[name].model_validate({"prior": "exact", "calls": 11, **CHEAP.get(name, {})}),
        Counting(MATERN, NOISE),
    )
    row.sample(observe(mask(), 0.1), Keys.of(1, "d", range(2)), 1)
    calls = len(seen) * row.solver.states * (1 + PRODUCTS.get(name, 0))
    assert calls == row.nfe("sample") in (8, 10, 11)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("field", [NOISE, MaternField(length=0.15, exponent=1.5)], ids=["white", "coloured"])
def test_no_batch_cut_is_seen(name, field, monkeypatch):
    m, prior, row = observe(mask(3), 0.1), FieldPrior(MATERN, field), SOLVERS[name]
    row = ZeroShot(row.model_validate({"prior": "exact", "calls": 10, **CHEAP.get(name, {})}), prior)
    whole = row.sample(m, Keys.of(1, "d", range(3)), 3)
    single = [row.sample(m[i : i + 1], Keys.of(1, "d", [i]), 3) for i in range(3)]
    torch.testing.assert_close(torch.cat(single, 1), whole, rtol=0, atol=2e-5)
    monkeypatch.setattr(base, "CHUNK", 3)
    torch.testing.assert_close(row.sample(m, Keys.of(1, "d", range(3)), 3), whole, rtol=0, atol=2e-5)


def test_white_pictures_are_sampled_exactly_by_pigdm():
    """Given many steps: a prior that is what eq. 4 assumes."""
    law = WhiteField(std=0.5, reference=10)
    m = measure(mask(1), law.sample(keys(1), GRID), Noise(sigma=0.3), keys(1))
    x = draw("pigdm", m, FieldPrior(law, NOISE), count=128, calls=400)
    precision = 1 / 0.5**2 + m.operator.observed / 0.3**2
    z = (x.mean(0) - m.y / 0.3**2 / precision) * precision.sqrt()
    assert float(z.square().mean().sqrt()) == pytest.approx(128**-0.5, rel=0.5)
    assert float((x.var(0) * precision).mean()) == pytest.approx(1, abs=0.12)


def test_levels_are_the_solvers_and_can_be_set(write):
    head = "data: photos\ndegradation: sparse-random\neval: {methods: [{name: ddrm, prior: p, calls: 9"
    [solver] = load_recipe(write(f"{head}}}]}}\n")).eval.methods
    assert (solver.levels.sigma_max, solver.levels.sigma_min) == (2, 0.2)
    text = f"{head}, levels: {{sigma_max: 4, sigma_min: 0.5, rho: 1}}}}]}}\n"
    [solver] = load_recipe(write(text)).eval.methods
    np.testing.assert_allclose(solver.levels.of(8)[[0, 1, -2, -1]], [4, 3.5, 0.5, 0])
    with raises(RecipeError, "sigma_min should be less than sigma_max"):
        load_recipe(write(text.replace("0.5", "5")))


# CRPS over that of exact samples at 50 calls (16 images: tests/benchmarks/zeroshot_gaussian.py), with some room for 4 images.
MOST = {
    "dps": {"mask": 1.15, "super-resolution": 1.12, "blur": 1.15, "tomography": 1.18},
    "pigdm": {"mask": 1.15, "super-resolution": 1.12, "blur": 1.12, "tomography": 1.12},
    "mmps": {"mask": 1.12, "super-resolution": 1.06, "blur": 1.06, "tomography": 1.06},
    "daps": {"mask": 1.35, "super-resolution": 1.06, "blur": 1.06, "tomography": 1.06},
    "diffpir": {"mask": 1.3, "super-resolution": 1.12, "blur": 1.12, "tomography": 1.12},
}


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_near_the_exact_posterior_on_every_task(task):
    bench = Bench(4, task=task)
    for name, most in MOST.items():
        crps = bench.of(SOLVERS[name].model_validate({"prior": "exact"}))[2]
        assert crps < most[task], name


def test_a_fixed_step_of_dps_swings(monkeypatch):
    """The mutant: the published step alone."""
    bench = Bench(4, task="tomography")
    solver = SOLVERS["dps"].model_validate({"prior": "exact"})
    monkeypatch.setattr(dps.torch, "minimum", lambda step, best: step)
    assert bench.of(solver)[2] > 2
