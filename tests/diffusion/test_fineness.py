"""The residual's law follows how close what is seen is."""

import pytest
import torch
from invkit_inpainting import Box
from invkit_sparse import RandomPixels
from test_zoom import COARSE, FINE, NETWORK, built, measured, problem

from invkit.core.keys import Keys
from invkit.diffusion.preconditioning import SpectralPreconditioning
from invkit.diffusion.settings import Diffusion
from invkit.training.initialise import build_model

RANGE = RandomPixels(fraction=(0.05, 0.4))
DENSE, SPARSE = RandomPixels(fraction=0.4), RandomPixels(fraction=0.05)


@pytest.fixture(scope="module")
def model():
    return built(FINE, RANGE)


def test_it_is_that_of_the_distances(model):
    dense, sparse = (float(model.fineness(measured(FINE, law))[0]) for law in (DENSE, SPARSE))
    assert sparse < 1 < dense
    here, twice = (model.fineness(measured(grid, RandomPixels(fraction=0.1)))[0] for grid in (COARSE, FINE))
    assert float(twice / here) == pytest.approx(2)
    boxes = model.fineness(measured(FINE, Box(side=0.9)))
    assert bool((boxes < 1).all()) and bool((boxes >= 1 / 8).all())
    alike = built(FINE, RandomPixels(fraction=0.1))
    assert alike.fineness(measured(FINE, RandomPixels(fraction=0.1))).unique().tolist() == [1]


@pytest.mark.parametrize("law", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_each_density_has_its_law(law):
    """Trained on a range, the law for one density is nearer to that measured on it alone than one law for all."""
    model, alone = built(FINE, RANGE), built(FINE, law)
    want = alone.constants.residual.spectrum(FINE).diagonal().mean(-1)
    found = float(model.fineness(measured(FINE, law))[0])
    errors = [
        float((model.residual(fineness).spectrum(FINE).diagonal().mean(-1) / want).log().abs().mean())
        for fineness in (1.0, found)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_a_batch_of_several_is_what_each_is_alone():
    spectral = Diffusion(preconditioning=SpectralPreconditioning())
    model = build_model(problem(FINE, RANGE), NETWORK, spectral, "float32", torch.device("cpu"), 128)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    m = measured(FINE, RANGE)
    assert len(model.fineness(m).unique()) > 1
    keys, quantiles = Keys.of(0, "loss", range(6)), torch.linspace(0.05, 0.95, 6)
    whole = model.loss(m.y, m, keys, quantiles, mean_share=0.2)
    for i in range(6):
        one = slice(i, i + 1)
        alone = model.loss(m.y[one], m[one], keys[one], quantiles[one], mean_share=0.2)
        torch.testing.assert_close(alone, whole[one], rtol=1e-3, atol=1e-5)
