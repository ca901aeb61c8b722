"""The Gaussian posterior with default arguments against a dense solution, in posterior standard deviations."""

import pytest
import torch
from invkit_blur import GaussianBlur
from invkit_color import Bayer
from invkit_superres import BlockMean
from invkit_tomography import Tomography
from support.messages import warns
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.kriging import NUGGET, ByHidden, ByObserved, dense_kriging
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask

GRID = Grid(16, 16)
SIZE = GRID.channels * GRID.pixels
EYE = torch.eye(SIZE, dtype=torch.float64).view(SIZE, *GRID.picture)
ROUGH = MaternField(std=0.5, length=0.25, exponent=2.0, color=0.8)
SMOOTH = MaternField(std=0.5, length=0.5, exponent=3.0, color=0.5)
DRAWS = 24


def operator_of(name: str, keys: Keys) -> LinearOperator:
    if name == "box":
        observed = torch.ones(1, 1, *GRID.shape, dtype=torch.bool)
        observed[..., 5:11, 5:11] = False
        return Mask(observed, GRID.channels)
    if name == "random":
        return Mask(keys.uniform("mask", 1, *GRID.shape) < 0.3, GRID.channels)
    chosen = {"bayer": Bayer(), "blur": GaussianBlur(width=0.05), "tomography": Tomography(angles=24)}
    return {**chosen, "superres": BlockMean(factor=4)}[name].sample(keys, GRID)


class Dense(GaussianPosterior):
    """The same with the gain as a matrix, and the variance assumed instead of no noise as the iterative solver assumes it."""

    def __init__(self, field: MaternField, measurement: Measurement) -> None:
        super().__init__(field, measurement)
        a = measurement.operator.repeat(SIZE).forward(EYE).flatten(1).T
        kept = a.abs().sum(1) > 0  # masks have a value at every pixel
        prior = field.covariance(EYE, GRID).view(SIZE, SIZE)
        noise = float(self._noise_variance)
        system = a @ prior @ a.T + noise * torch.diag(torch.where(kept, 1.0, 1e30).double())
        self.matrix = prior @ a.T @ torch.linalg.inv(system)
        self.std = (prior - self.matrix @ a @ prior).diagonal().mean().sqrt()

    def gain(self, r: Tensor) -> Tensor:
        return (r.double().flatten(2) @ self.matrix.T).view(*r.shape[:2], *GRID.picture).to(r)


def problem(name: str, sigma: float, field: MaternField) -> Measurement:
    keys = Keys.of(0, f"{name}/{sigma}", [0])
    return measure(operator_of(name, keys), field.sample(keys, GRID).double(), Noise(sigma=sigma), keys)


def errors(field: MaternField, measurement: Measurement, **settings: float) -> tuple[float, float]:
    """Of the mean, as a root mean square in posterior standard deviations, and of the variance of samples, relative."""
    keys, dense = Keys.of(1, "draws", [0]), Dense(field, measurement)
    posterior = GaussianPosterior(field, measurement, **settings)  # type: ignore[arg-type]
    mean = float((posterior.mean() - dense.mean()).square().mean().sqrt() / dense.std)
    ours, exact = (float(one.sample(keys, DRAWS).var(0).mean()) for one in (posterior, dense))
    return mean, abs(ours / exact - 1)


@pytest.mark.parametrize("field", [ROUGH, SMOOTH], ids=["rough", "smooth"])
@pytest.mark.parametrize("sigma", [0.1, 0.02, 0.005, 0.001])
@pytest.mark.parametrize("name", ["bayer", "blur", "tomography", "box", "random"])
def test_the_default_is_exact(name, sigma, field):
    mean, variance = errors(field, problem(name, sigma, field))
    assert mean < 0.02 and variance < 0.02


@pytest.mark.parametrize("name", ["bayer", "blur", "tomography", "superres"])
@pytest.mark.parametrize("field", [ROUGH, SMOOTH], ids=["rough", "smooth"])
def test_the_default_is_exact_without_noise(name, field):
    mean, variance = errors(field, problem(name, 0.0, field))
    assert mean < 0.02 and variance < 0.02


@pytest.mark.parametrize("name", ["box", "random"])
def test_conjugate_gradients_are_exact_for_masks_that_are_too_large(name, monkeypatch):
    monkeypatch.setattr("invkit.physics.gaussian.kriging.DENSE_VALUES", 0)
    for sigma in (0.1, 0.005):
        mean, variance = errors(ROUGH, problem(name, sigma, ROUGH))
        assert mean < 0.02 and variance < 0.02


def test_without_noise_a_small_one_is_assumed():
    """Up to a factor that one random vector is off, the mean prior variance of a value times `NUGGET`."""
    for name in ("bayer", "blur", "tomography", "superres"):
        measurement = problem(name, 0.0, ROUGH)
        a = measurement.operator.repeat(SIZE).forward(EYE).flatten(1).T
        prior = ROUGH.covariance(EYE, GRID).view(SIZE, SIZE)
        usual = NUGGET * float((a @ prior @ a.T).diagonal()[a.abs().sum(1) > 0].mean())
        assert usual / 3 < float(GaussianPosterior(ROUGH, measurement)._noise_variance) < 3 * usual


def test_a_looser_tolerance_is_seen():
    """The mutant: what earlier versions did, who stopped by the residual."""
    mean, _ = errors(ROUGH, problem("bayer", 0.005, ROUGH), tolerance=0.5)
    assert mean > 0.05
    measurement = problem("bayer", 0.005, ROUGH)
    with warns("posterior standard deviations", 20, "wanted: 0.003"):
        GaussianPosterior(ROUGH, measurement, max_steps=20).mean()


def test_noisy_masks_are_solved_by_the_fewer_pixels():
    kinds = {name: type(dense_kriging(ROUGH, problem(name, 0.02, ROUGH))) for name in ("box", "random")}
    assert kinds == {"box": ByHidden, "random": ByObserved}


@pytest.mark.parametrize("sigma", [0.0, 0.005, 0.1])
def test_both_sides_of_a_mask_give_the_same(sigma, monkeypatch):
    measurement = problem("box", sigma, ROUGH)
    hidden = dense_kriging(ROUGH, measurement)
    monkeypatch.setattr("invkit.physics.gaussian.kriging.precision_of", lambda *_: None)
    observed = dense_kriging(ROUGH, measurement)
    assert (type(hidden), type(observed)) == (ByHidden, ByObserved)
    r, close = measurement.y[None], {"rtol": 0, "atol": 1e-6 if sigma else 2e-3}
    torch.testing.assert_close(hidden.gain(r), observed.gain(r), **close)
    torch.testing.assert_close(hidden.variance(), observed.variance(), **close)
    weights, others = hidden.weights(r), observed.weights(r)
    if sigma:
        torch.testing.assert_close(weights, others, rtol=1e-6, atol=1e-6 * float(others.abs().max()))
        torch.testing.assert_close(hidden.precisions(), observed.precisions(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(hidden.loo_error(weights), observed.loo_error(others), rtol=1e-6, atol=0)
