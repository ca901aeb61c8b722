"""What is seen more densely than in training is worked on as much more finely; the residual's law follows the density."""

import math
from dataclasses import replace

import pytest
import torch
from invkit_inpainting import Box
from invkit_sparse import RandomPixels

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields
from invkit.diffusion import Sample, density
from invkit.diffusion.conditioning import initial_estimate
from invkit.diffusion.constants import Constants
from invkit.diffusion.density import density_steps, distance, training_steps
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.preconditioning import SpectralPreconditioning
from invkit.diffusion.samplers import Dpmpp2M
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Measurement, Noise
from invkit.physics.operators.mask import Mask
from invkit.training.initialise import build_model
from invkit.training.problem import Problem

COARSE, FINE = Grid(16, 16), Grid(32, 32)
DATA = Fields(field=MaternField(std=0.5, length=0.6, exponent=1.5))  # smooth over many pixels: alike at every scale
NETWORK = NETWORKS["fno-unet"](channels=8, mult=(1, 2), blocks=1, patch=1, modes=3, embedding=8)
CPU = torch.device("cpu")
RANGE = RandomPixels(fraction=(0.05, 0.4))
DENSE, SPARSE = RandomPixels(fraction=0.4), RandomPixels(fraction=0.05)


def problem(grid: Grid, degradation=RandomPixels(fraction=0.15)) -> Problem:  # noqa: B008
    return Problem({grid: DATA.open("train", grid, 0)}, degradation, Noise(), 0)


def built(grid: Grid = COARSE, degradation=RandomPixels(fraction=0.15), network=NETWORK) -> ConditionalModel:  # noqa: B008
    torch.manual_seed(0)
    model = build_model(problem(grid, degradation), network, Diffusion(), "float32", CPU, 256).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def measured(grid: Grid, degradation=RandomPixels(fraction=0.15), n: int = 6) -> Measurement:  # noqa: B008
    x = DATA.open("test", grid, 0, n)[list(range(n))]
    return problem(grid, degradation).measure(x, Keys.of(0, "zoom", range(n)), grid)


@pytest.fixture(scope="module")
def model() -> ConditionalModel:
    return built()


def test_the_same_share_of_a_finer_grid_is_as_much_finer(model):
    assert model.zooms(measured(COARSE)) is None
    fine = measured(FINE)
    assert model.zooms(fine).tolist() == [2] * 6
    assert model.condition(fine, 2.0).inputs.shape[-2:] == (32, 32)
    assert model.condition(fine).inputs.shape[-2:] == (16, 16)
    assert model.zooms(measured(Grid(64, 64), RandomPixels(fraction=0.0375))).tolist() == [2] * 6


def test_on_a_coarser_grid_weights_add_up(model):
    """A convolution of them there is then that of all of them, however many are in a cell."""
    fine = measured(FINE)
    given = model.condition(fine).inputs[:, 3:6]
    assert given.shape[-2:] == (16, 16)
    sums = (
        initial_estimate("gaussian", model.estimate_prior, fine)
        .data_channel.unflatten(3, (16, 2))
        .unflatten(2, (16, 2))
        .sum((3, 5))
    )
    ratio = given / sums
    assert fine.observed.sum() > (sums != 0).sum() / 3  # some cells show several
    for picture in ratio:
        found = picture[picture.isfinite()]
        torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-3, atol=0)
        assert float(found[0]) > 0
    power = given.square().sum((1, 2, 3)) / (3 * (sums != 0).any(1).sum((1, 2)))
    torch.testing.assert_close(power, torch.ones(6))


def test_of_several_training_grids_the_finest_counts(model):
    constants = replace(model.constants, reference=32)
    both = ConditionalModel(NETWORK, Diffusion(), constants)
    assert both.zooms(measured(FINE)) is None
    assert both.zooms(measured(Grid(64, 64))).tolist() == [2] * 6
    assert both.zooms(measured(Grid(64, 64), RandomPixels(fraction=0.0375))).tolist() == [1] * 6


@pytest.mark.parametrize(
    "degradation",
    [RandomPixels(fraction=0.15, sensors=16), RandomPixels(fraction=0.03)],
    ids=["the same sensors", "fewer"],
)
def test_what_is_seen_as_densely_is_not(model, degradation):
    assert model.zooms(measured(FINE, degradation)).tolist() == [1] * 6


def test_a_hidden_box_is_as_large_on_every_grid():
    box = Box(side=0.4)
    model = built(FINE, box)
    assert model.zooms(measured(Grid(64, 64), box)).tolist() == [1] * 6


def test_what_knows_no_distance_or_no_reference_is_not_zoomed(model):
    fine = measured(FINE)
    for ranges in (None, model.constants.training_ranges[:3]):
        tensors = replace(model.constants, training_ranges=None).tensors()
        old = Constants.of(tensors | ({} if ranges is None else {"familiar": ranges}))
        earlier = ConditionalModel(NETWORK, Diffusion(), old)
        assert earlier.zooms(fine) is None
    plain = built(network=NETWORKS["unet"](channels=8, mult=(1,), blocks=1))
    assert plain.zooms(fine) is None


def test_a_picture_is_what_it_is_alone_whatever_is_beside_it(model):
    """Of a batch of several densities, and so of several zooms."""
    fine = measured(FINE)
    observed = fine.observed.clone()
    observed[::2] &= Keys.of(0, "half", range(3)).uniform("u", 1, *FINE.shape) < 0.25
    mixed = Measurement(Mask(observed, 3), fine.y * observed)
    assert len(model.zooms(mixed).unique()) > 1
    keys, settings = Keys.of(0, "draws", range(6)), Sample(method=Dpmpp2M(), steps=3)
    mean, samples = model.mean(mixed), model.sample(mixed, keys, 2, settings)
    assert samples.shape == (2, 6, *FINE.picture)
    for i in range(6):
        one = slice(i, i + 1)
        torch.testing.assert_close(model.mean(mixed[one]), mean[one], rtol=0, atol=1e-4)
        torch.testing.assert_close(model.sample(mixed[one], keys[one], 2, settings), samples[:, one], rtol=0, atol=1e-3)


def test_the_law_of_the_residual_is_as_much_finer(model):
    """Against the law measured on the finer grid, which the model never saw."""
    want = built(FINE).constants.residual.modes.diagonal().mean(-1)
    errors = [
        float((model.residual(zoom).spectrum(FINE).diagonal().mean(-1) / want).log().abs().mean())
        for zoom in (1.0, 2.0)
    ]
    assert errors[1] < 0.1 < 0.25 < errors[0]


def test_a_zoomed_field_has_the_same_pixels_closer_together(model):
    field = model.constants.residual
    zoomed = replace(field, zoom=2.0)
    near, far = (
        f.gram(FINE, torch.tensor([[16 * 32 + 10, 16 * 32 + 10 + d]]), torch.zeros(1))[0, 0, 3]
        for f, d in ((zoomed, 2), (field, 4))
    )
    assert float(near) == pytest.approx(float(far), abs=0.1)
    assert zoomed.pixel_std(FINE) == pytest.approx(field.pixel_std(COARSE), rel=0.05)


@pytest.fixture(scope="module")
def ranged() -> ConditionalModel:
    return built(FINE, RANGE)


def test_the_density_ratio_is_that_of_the_distances(ranged):
    dense, sparse = (float(ranged.density_ratio(measured(FINE, law))[0]) for law in (DENSE, SPARSE))
    assert sparse < 1 < dense
    here, twice = (ranged.density_ratio(measured(grid, RandomPixels(fraction=0.1)))[0] for grid in (COARSE, FINE))
    assert float(twice / here) == pytest.approx(2)
    boxes = ranged.density_ratio(measured(FINE, Box(side=0.9)))
    assert bool((boxes < 1).all()) and bool((boxes >= 1 / 8).all())
    alike = built(FINE, RandomPixels(fraction=0.1))
    assert alike.density_ratio(measured(FINE, RandomPixels(fraction=0.1))).unique().tolist() == [1]


@pytest.mark.parametrize("law", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_each_density_has_its_law(law):
    """Trained on a range, the law for one density is nearer to that measured on it alone than one law for all."""
    model, alone = built(FINE, RANGE), built(FINE, law)
    want = alone.constants.residual.spectrum(FINE).diagonal().mean(-1)
    found = float(model.density_ratio(measured(FINE, law))[0])
    errors = [
        float((model.residual(density_ratio).spectrum(FINE).diagonal().mean(-1) / want).log().abs().mean())
        for density_ratio in (1.0, found)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_a_batch_of_several_densities_is_what_each_is_alone():
    spectral = Diffusion(preconditioning=SpectralPreconditioning())
    model = build_model(problem(FINE, RANGE), NETWORK, spectral, "float32", CPU, 128)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    m = measured(FINE, RANGE)
    assert len(model.density_ratio(m).unique()) > 1
    keys, quantiles = Keys.of(0, "loss", range(6)), torch.linspace(0.05, 0.95, 6)
    whole = model.loss(m.y, m, keys, quantiles, mean_share=0.2)
    for i in range(6):
        one = slice(i, i + 1)
        alone = model.loss(m.y[one], m[one], keys[one], quantiles[one], mean_share=0.2)
        torch.testing.assert_close(alone, whole[one], rtol=1e-3, atol=1e-5)


def nearest_by_brute_force(observed):
    """Mean distance in the maximum norm from the nearest observed pixel of (H, W), in cells."""
    places = observed.nonzero().double()
    every = torch.ones_like(observed).nonzero().double()
    return float(torch.cdist(every, places, p=math.inf).amin(1).mean()) if len(places) else max(observed.shape)


@pytest.mark.parametrize("grid", [Grid(9, 14), Grid(20, 11)], ids=str)
def test_the_distance_is_that_of_the_nearest(grid, monkeypatch):
    observed = Keys.of(0, "few", range(4)).uniform("u", 2, *grid.shape) < torch.tensor([0.0, 0.01, 0.1, 0.9]).view(
        -1, 1, 1, 1
    )
    want = [sum(map(nearest_by_brute_force, mask)) / 2 / min(grid.shape) for mask in observed]
    assert distance(observed).tolist() == pytest.approx(want)
    monkeypatch.setattr(density, "AT_ONCE", 1000)  # rows in several parts
    assert distance(observed).tolist() == pytest.approx(want)


def test_training_takes_the_ratios_of_its_masks():
    """Of one kind of masks one ratio, without looking at them; of a range all that occur."""
    one = torch.tensor([[0.0, 1.0]] * 3 + [[0.1, 0.11]], dtype=torch.float64)
    assert list(training_steps(one)) == [0]
    distances = distance(measured(FINE, RANGE, 64).observed)
    several = torch.stack([*one[:3], torch.stack([distances.min(), distances.max()])])
    occurring = density_steps(measured(FINE, RANGE, 64), several).unique().tolist()
    assert len(occurring) > 2 and set(occurring) <= set(training_steps(several))
    assert list(training_steps(None)) == [0] and density_steps(measured(FINE), None) is None
