"""The error of the power spectrum: against scipy, in known ratios, and for a mean beside a sample."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from support.metrics import value
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.spectrum import SpectralError, bands
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

COUNT, GRID = 12, Grid(16, 16)


def outcome(truth: Tensor, estimate: Tensor, samples: Tensor | None = None, share: float = 0.1) -> Outcome:
    mask = Mask(Keys.of(0, "mask", range(len(truth))).uniform("mask", 1, *truth.shape[2:]) < share)
    return Outcome(
        truth, Measurement(mask, mask.forward(truth)), "sample" if samples is not None else "mean", estimate, samples
    )


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Truths of a field, their exact posterior means of a tenth of the pixels, and posterior samples (K, B, C, H, W)."""
    field = MaternField(length=0.2)
    truth = field.sample(Keys.of(1, "truth", range(COUNT)), GRID)
    posterior = GaussianPosterior(field, outcome(truth, truth).measurement)
    return truth, posterior.mean(), posterior.sample(Keys.of(1, "sample", range(COUNT)), 4)


def test_bands_are_half_octaves_of_the_frequency_and_hold_every_mode():
    found = bands(Grid(12, 20))
    i, j = np.meshgrid(np.arange(12), np.arange(20) * 12 / 20, indexing="ij")  # half-cycles over the shorter side
    f = np.hypot(i, j)
    expected = np.floor(np.log2(np.where(f > 0, f, 1) ** 2) + 1e-9)
    expected = np.where(f > 0, expected - expected.ravel()[1:].min(), -1)
    np.testing.assert_array_equal(found, expected)


def test_it_is_what_scipy_says(drawn):
    truth, mean, _ = drawn
    o, band = outcome(truth, mean + 0.1), bands(GRID).numpy()
    shown = torch.where(o.measurement.observed, truth, mean + 0.1)
    powers = [np.square(dctn(x.double().numpy(), axes=(2, 3), norm="ortho")).sum((0, 1)) for x in (shown, truth)]
    errors = [10 * math.log10(powers[0][band == k].sum() / powers[1][band == k].sum()) for k in range(band.max() + 1)]
    assert value(SpectralError(), o) == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-9)


def test_half_the_contrast_is_six_decibels_and_brightness_is_none(drawn):
    truth = drawn[0]
    assert value(SpectralError(), outcome(truth, truth / 2 + 0.3, share=0)) == pytest.approx(
        20 * math.log10(2), rel=1e-5
    )
    assert value(SpectralError(), outcome(truth, truth)) == 0
    assert value(SpectralError(), outcome(truth, truth + 0.3, share=0)) == pytest.approx(0, abs=1e-4)


def test_a_blurred_mean_is_further_off_than_a_sample(drawn):
    truth, mean, samples = drawn
    of_mean, of_sample = (
        value(SpectralError(), outcome(truth, mean)),
        value(SpectralError(), outcome(truth, samples[0], samples)),
    )
    assert of_sample < 0.7 < 3 < of_mean
    assert value(SpectralError(), outcome(truth, 1.5 * samples[0], 1.5 * samples)) > 2  # too rough is no better


def test_power_is_pooled_over_pictures_before_the_logarithm(drawn):
    truth = drawn[0]
    other = truth.roll(1, 0)  # each picture's spectrum is that of another one
    assert value(SpectralError(), outcome(truth, other, share=0)) == pytest.approx(0, abs=1e-6)
    assert value(SpectralError(), outcome(truth[:1], other[:1], share=0)) > 1


def test_a_flat_estimate_counts_as_sixty_decibels_and_a_flat_truth_as_nothing(drawn):
    truth = drawn[0]
    assert value(SpectralError(), outcome(truth, torch.zeros_like(truth), share=0)) == pytest.approx(60)
    with np.errstate(invalid="ignore"):
        assert math.isnan(value(SpectralError(), outcome(torch.zeros_like(truth), torch.zeros_like(truth), share=0)))


@pytest.mark.parametrize("grid", [Grid(12, 20), Grid(20, 12), Grid(4, 37), Grid(1, 6)])
def test_half_the_contrast_is_six_decibels_on_grids_that_are_not_square(grid):
    truth = Keys.of(0, "x", range(3)).normal("x", *grid.picture)
    assert value(SpectralError(), outcome(truth, truth / 2, share=0)) == pytest.approx(20 * math.log10(2), abs=1e-6)
