import math

import pytest
import torch

from invkit.compose import Mixture
from invkit.data.fields import Fields
from invkit.degradation import Degradation, Noise
from invkit.diffusion import Diffusion
from invkit.diffusion.condition import unknown
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.diffusion.unit import Unit
from invkit.field import MaternField
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.nn import NETWORKS
from invkit.plugins import registry
from invkit.training import Problem, build_model

RANDOM = registry().degradations["sparse-random"]


def drawn(tilt: float, low: float = 0.05, high: float = 0.4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residuals with deviation 0.3 d^(1 + tilt) in units of d, the d themselves, and what is hidden: three quarters."""
    keys = Keys.of(0, "unit", range(100))
    d = low * (high / low) ** keys.uniform("d", 1, 16, 16)
    hidden = (keys.uniform("hidden", 1, 16, 16) < 0.75).float().expand(-1, 3, -1, -1)
    return 0.3 * d**tilt * keys.normal("z", 3, 16, 16) * hidden, d, hidden


@pytest.mark.parametrize("tilt", [1.5, -0.5])
def test_a_power_law_is_found_and_leaves_residuals_of_deviation_one(tilt):
    z, d, hidden = drawn(tilt)
    unit = Unit.fit(z, d, hidden)
    assert unit.tilt == pytest.approx(tilt, abs=0.03)
    assert unit.deviations == pytest.approx((0.05, 0.4), rel=0.1)
    low, high = unit.deviations
    assert unit.scale == pytest.approx(0.3 * math.sqrt(low * high) ** tilt, rel=0.03)
    left = (z / unit.of(d)).square()
    for part in (d < 0.1, (d >= 0.1) & (d < 0.2), d >= 0.2):
        assert float((left * part).sum() / (hidden * part).sum()) == pytest.approx(1, abs=0.06)
    torch.testing.assert_close(unit(d), d * unit.of(d))


@pytest.mark.parametrize(
    ("tilt", "low"), [(0.0, 0.05), (0.2, 0.05), (1.5, 0.4)], ids=["none", "a small one", "one deviation"]
)
def test_what_hardly_differs_has_one_scale(tilt, low):
    z, d, hidden = drawn(tilt, low)
    unit = Unit.fit(z, d, hidden)
    assert unit.tilt == 0
    assert unit.scale == pytest.approx(math.sqrt(float(z.square().sum() / hidden.sum())), rel=1e-5)
    assert torch.equal(unit(d), d * unit.scale)


def test_beyond_the_training_the_power_is_held():
    unit = Unit(0.5, 2.0, (0.1, 0.4))
    got = unit(torch.tensor([0.01, 0.1, 0.2, 0.4, 3.0])).tolist()
    assert got == pytest.approx([0.00125, 0.0125, 0.1, 0.8, 6.0])


@pytest.mark.parametrize("d", [0.0, 1e-30, 1.0, 1e30])
def test_any_deviation_leaves_a_unit(d):
    z, hidden = torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    unit = Unit.fit(z, torch.full((2, 1, 4, 4), d), hidden)
    assert (unit.scale, unit.tilt) == (1, 0)
    assert Unit.fit(0 * z, torch.full((2, 1, 4, 4), d), 0 * hidden).scale > 0  # nothing hidden


def supposing(grid: Grid, *laws: Degradation) -> tuple[Fields, ConditionalModel]:
    """Pictures smoother than the law behind the fill, and a model of them that was measured on one grid."""
    data = Fields(field=MaternField(std=0.5, length=0.25, exponent=2.5))
    network = NETWORKS["fno-unet"](
        prior=MaternField(std=0.5, length=0.2, exponent=1.3), channels=8, mult=(1,), blocks=1
    )
    problem = Problem({grid: data.open("train", grid, 0)}, Mixture(of=laws), Noise(sigma=0), 0)
    return data, build_model(problem, network, Diffusion(), "float32", torch.device("cpu"), 128)


def deviation(data: Fields, model: ConditionalModel, law: Degradation, grid: Grid) -> float:
    """Of the residuals of 32 test pictures where they are hidden, in their unit."""
    images = data.open("test", grid, 0, 32)
    x = images[list(range(32))]
    measurement = Problem({grid: images}, law, Noise(sigma=0), 0).measure(x, Keys.of(0, "unit", range(32)), grid)
    condition, hidden = model.condition(measurement), unknown(measurement)
    z = (x - condition.fill) / condition.deviation * hidden
    return math.sqrt(float(z.square().sum() / hidden.sum() / 3))


def test_residuals_of_two_densities_have_one_deviation():
    """Kriging under a rougher law than the pictures' expects too much, and the more so, the more is seen."""
    grid, laws = Grid(32, 32), (RANDOM(fraction=0.1), RANDOM(fraction=0.4))
    data, model = supposing(grid, *laws)
    assert model.constants.unit.tilt > 1
    assert [deviation(data, model, law, grid) for law in laws] == pytest.approx([1, 1], abs=0.1)
    loaded = Constants.of(model.constants.tensors())
    assert loaded.unit == model.constants.unit
    earlier = {k: v for k, v in model.constants.tensors().items() if k != "deviations"}
    with pytest.raises(ValueError, match="earlier"):
        Constants.of(earlier)  # its tilt was by picture
    for tilt in ({}, {"tilt": torch.tensor(0.0)}):
        assert Constants.of({**{k: v for k, v in earlier.items() if k != "tilt"}, **tilt}).unit.tilt == 0


def test_residuals_of_a_finer_grid_have_the_deviation_of_the_training(monkeypatch):
    """What a wrong law says of modes that no training saw would make the fill rough and the expectation too large."""
    fine, share, sensors = Grid(64, 64), RANDOM(fraction=0.1), RANDOM(fraction=0.1, sensors=32)
    data, model = supposing(Grid(32, 32), share, RANDOM(fraction=(0.1, 0.45)))
    assert [deviation(data, model, law, fine) for law in (sensors, share)] == pytest.approx([1, 1], abs=0.15)
    monkeypatch.setattr(ConditionalModel, "fill_prior", model.settings.prior)
    assert deviation(data, model, share, fine) < 0.85
