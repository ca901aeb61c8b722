import math

import pytest
import torch
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields
from invkit.data.photos import Photos
from invkit.diffusion.conditioning import unknown
from invkit.diffusion.constants import Constants
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.residual_scale import ResidualScale
from invkit.diffusion.settings import Diffusion
from invkit.physics.degradation import Degradation
from invkit.physics.degradations import Mixture
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Noise
from invkit.plugins.loader import registry
from invkit.training.initialise import build_model
from invkit.training.problem import Problem

COUNT = 400
RANDOM = registry().names("degradation")["sparse-random"]
VALUES = 200.0  # hidden in each picture


def drawn(exponent: float, loo_error: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squares, counts and leave-one-out errors of residuals with std 0.3 loo_error^exponent, varied by a tenth."""
    normal = Keys.of(0, "unit", range(len(loo_error))).normal("n", 1)[:, 0].double()
    deviation = 0.3 * loo_error**exponent * (0.1 * normal).exp()
    return deviation.square() * VALUES, torch.full_like(loo_error, VALUES), loo_error


def test_a_power_law_is_found_and_leaves_residuals_of_deviation_one():
    loo_error = torch.linspace(0.1, 0.4, COUNT, dtype=torch.float64)
    squares, counts, _ = drawn(0.9, loo_error)
    unit = ResidualScale.fit(squares, counts, loo_error)
    assert unit.exponent == pytest.approx(0.9, abs=0.05)
    assert unit.loo_error == pytest.approx((0.1, 0.4))
    assert unit.scale == pytest.approx(0.3 * 0.2**0.9, rel=0.03)  # at the geometric middle
    left = squares / unit(loo_error).square()
    for half in (slice(0, COUNT // 2), slice(COUNT // 2, COUNT)):
        assert float(left[half].sum() / counts[half].sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("loo_error", [torch.linspace(0.1, 0.4, COUNT), torch.ones(COUNT)], ids=["spread", "one"])
def test_what_is_not_told_from_none_is_none(loo_error):
    unit = ResidualScale.fit(*drawn(0.0, loo_error.double()))
    assert unit.exponent == 0
    assert unit(torch.rand(3)).tolist() == pytest.approx([unit.scale] * 3)


def test_beyond_the_training_its_ends_hold():
    unit = ResidualScale(0.5, 2.0, (0.1, 0.4))
    assert unit(torch.tensor([0.01, 0.1, 0.2, 0.4, 3.0])).tolist() == pytest.approx([0.125, 0.125, 0.5, 2.0, 2.0])


def test_nothing_hidden_leaves_a_unit():
    zero = torch.zeros(3)
    assert ResidualScale.fit(zero, zero, zero).scale > 0


def supposing(grid: Grid, *laws: Degradation) -> tuple[Fields, ConditionalModel]:
    """Pictures smoother than the law behind the fill, and a model of them that was measured on one grid."""
    data = Fields(field=MaternField(std=0.5, length=0.25, exponent=2.5))
    network = NETWORKS["fno-unet"](
        prior=MaternField(std=0.5, length=0.2, exponent=1.3), channels=8, mult=(1,), blocks=1
    )
    problem = Problem({grid: data.open("train", grid, 0)}, Mixture(of=laws), Noise(sigma=0), 0)
    return data, build_model(problem, network, Diffusion(), "float32", torch.device("cpu"), 128)


def deviation(data: Fields, model: ConditionalModel, law: Degradation, grid: Grid, unit: bool = True) -> float:
    """Of the residuals of 32 test pictures where they are hidden, in their unit or in pixels."""
    images = data.open("test", grid, 0, 32)
    x = images[list(range(32))]
    measurement = Problem({grid: images}, law, Noise(sigma=0), 0).measure(x, Keys.of(0, "unit", range(32)), grid)
    condition, hidden = model.condition(measurement), unknown(measurement)
    z = (x - condition.estimate.mean) / (condition.estimate.std if unit else 1) * hidden
    return math.sqrt(float(z.square().sum() / hidden.sum() / 3))


def test_residuals_of_two_densities_have_one_deviation():
    """Kriging under a rougher law than the pictures' expects too much, and the more so, the more is seen."""
    grid, laws = Grid(32, 32), (RANDOM(fraction=0.1), RANDOM(fraction=0.4))
    data, model = supposing(grid, *laws)
    assert model.constants.residual_scale.exponent == pytest.approx(1, abs=0.15)
    assert [deviation(data, model, law, grid) for law in laws] == pytest.approx([1, 1], abs=0.1)
    loaded = Constants.of(model.constants.tensors())
    assert loaded.residual_scale == model.constants.residual_scale


def test_models_that_were_told_something_else_are_refused():
    _, model = supposing(Grid(16, 16), RANDOM(fraction=0.1))
    tensors = model.constants.tensors()
    second = {k: v for k, v in tensors.items() if k != "version"}
    first = {k: v for k, v in second.items() if k not in ("exponent", "misfit")}
    for earlier in (first, second):
        with raises(DataError, "--fresh"):
            Constants.of(earlier)
    assert Constants.of(first, "mean").residual_scale == ResidualScale(model.constants.residual_scale.scale)
    one = torch.ones(2, dtype=torch.float64)  # an operator that is no mask
    assert Constants.of(second | {"misfit": one}).residual_scale.loo_error == (1, 1)


def test_residuals_of_a_finer_grid_have_the_deviation_of_the_training(monkeypatch):
    """By what was seen of every picture; what a wrong law says of modes that no training saw would make the fill rough."""
    fine, share, sensors = Grid(64, 64), RANDOM(fraction=0.1), RANDOM(fraction=0.1, sensors=32)
    data, model = supposing(Grid(32, 32), share, RANDOM(fraction=(0.1, 0.45)))
    assert [deviation(data, model, law, fine) for law in (sensors, share)] == pytest.approx([1, 1], abs=0.06)
    error = deviation(data, model, share, fine, unit=False)
    monkeypatch.setattr(ConditionalModel, "estimate_prior", model.settings.prior)
    assert error < 0.95 * deviation(data, model, share, fine, unit=False)


def test_residuals_of_every_contrast_have_the_deviation_of_the_training():
    """Photographs differ in contrast, and what is seen of each tells its own."""
    grid, law = Grid(32, 32), RANDOM(fraction=0.1)
    data = Photos()
    network = NETWORKS["fno-unet"](channels=8, mult=(1,), blocks=1)
    images = data.open("train", grid, 0)
    problem = Problem({grid: images}, law, Noise(sigma=0), 0)
    model = build_model(problem, network, Diffusion(), "float32", torch.device("cpu"), 512)
    assert model.constants.residual_scale.exponent == pytest.approx(1, abs=0.15)
    x = images[list(range(600, 4696, 32))]
    m = problem.measure(x, Keys.of(0, "unit", range(128)), grid)
    hidden = unknown(m)
    squares = ((x - model.condition(m).estimate.mean).square() * hidden).mean((1, 2, 3))
    units = (model.condition(m).estimate.std.square() * hidden).mean((1, 2, 3))
    spread, left = float(squares.log().std()), float((squares / units).log().std())
    assert spread > 1  # the contrasts
    assert left < spread / 2
