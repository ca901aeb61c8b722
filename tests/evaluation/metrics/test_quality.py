import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support.messages import raises

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.quality import Mae, Psnr, PsnrHidden, Ssim
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

SIDE, COUNT = 16, 3


def outcome(sigma: float = 0.0, side: int = SIDE, share: float = 0.25) -> Outcome:
    keys = Keys.of(0, "test", range(COUNT))
    truth = keys.uniform("truth", 3, side, side) * 2 - 1
    estimate = truth + 0.4 * keys.normal("error", 3, side, side)
    mask = Mask(keys.uniform("mask", 1, side, side) < share)
    return Outcome(truth, Measurement(mask, mask.forward(truth), sigma), "mean", estimate)


def shown(o: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and truth on [0, 1], clipped, with exactly observed pixels pasted in, by numpy alone."""
    estimate, truth = o.estimate.double().numpy(), o.truth.double().numpy()
    if o.measurement.sigma == 0:
        estimate = np.where(o.measurement.observed.numpy(), truth, estimate)
    return np.clip((estimate + 1) / 2, 0, 1), np.clip((truth + 1) / 2, 0, 1)


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_psnr_is_that_of_scikit_image_after_pasting_and_clipping(sigma):
    o = outcome(sigma)
    expected = [peak_signal_noise_ratio(t, e, data_range=1) for e, t in zip(*shown(o), strict=True)]
    assert Psnr().components(o)["sum"].numpy() == pytest.approx(expected, rel=1e-6)


def test_psnr_of_identical_pictures_is_capped():
    o = outcome()
    same = Outcome(o.truth, o.measurement, "mean", o.truth)
    assert Psnr().components(same)["sum"].tolist() == [100.0] * COUNT


def test_psnr_hidden_looks_at_hidden_pixels_only():
    o = outcome()
    expected = []
    for e, t, m in zip(*shown(o), o.measurement.observed.expand_as(o.truth).numpy(), strict=True):
        expected.append(-10 * math.log10(((e - t)[~m] ** 2).mean()))
    parts = PsnrHidden().components(o)
    assert parts["sum"].numpy() == pytest.approx(expected, rel=1e-6)
    assert parts["count"].tolist() == [1.0] * COUNT


def test_psnr_hidden_leaves_out_pictures_that_hide_nothing():
    o = outcome(share=1.0)
    parts = PsnrHidden().components(o)
    assert parts["sum"].tolist() == parts["count"].tolist() == [0.0] * COUNT


def reference_ssim(estimate: np.ndarray, truth: np.ndarray, mode: str) -> float:
    """scikit-image under a border rule: pictures (C, H, W) continued as `mode` says, the border cut off afterwards."""
    values = []
    for e, t in zip(estimate, truth, strict=True):
        full = structural_similarity(
            np.pad(t, 10, mode), np.pad(e, 10, mode),
            data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
        )[1]  # fmt: skip
        values.append(full[10:-10, 10:-10].mean())
    return float(np.mean(values))


def test_ssim_is_that_of_scikit_image_under_the_same_border_rule():
    o = outcome()
    found = Ssim().components(o)["sum"].numpy()
    pairs = list(zip(*shown(o), strict=True))
    assert found == pytest.approx([reference_ssim(e, t, "reflect") for e, t in pairs], abs=1e-6)
    assert found != pytest.approx([reference_ssim(e, t, "symmetric") for e, t in pairs], abs=1e-3)


def test_ssim_needs_a_grid_as_large_as_its_window():
    with raises(Unavailable, "11x11"):
        Ssim().components(outcome(side=10))
    assert torch.isfinite(Ssim().components(outcome(side=11))["sum"]).all()


def test_mae_is_the_mean_absolute_error_of_what_is_shown():
    o = outcome()
    estimate, truth = shown(o)
    assert Mae().components(o)["sum"].numpy() == pytest.approx(np.abs(estimate - truth).mean((1, 2, 3)), rel=1e-6)


def flat(level: float) -> torch.Tensor:
    return torch.full((1, 3, SIDE, SIDE), level)


def test_two_hundred_pairs_constant_ones_included_agree_with_scikit_image():
    """PSNR within 1e-4 dB and SSIM within 1e-5, on all sorts of pairs: noise of every size, contrast lost, no contrast."""
    keys = Keys.of(3, "pairs", range(190))
    truth = keys.uniform("truth", 3, SIDE, SIDE) * 2 - 1
    smooth = truth.mean(3, keepdim=True) + 0.3 * truth
    size = torch.logspace(-3, 0.3, 190).view(-1, 1, 1, 1)
    estimate = torch.where(torch.arange(190).view(-1, 1, 1, 1) % 2 == 0, truth, smooth) + size * keys.normal(
        "e", 3, SIDE, SIDE
    )
    levels = [flat(level) for level in (-1.0, -0.2, 0.0, 0.5, 1.0)]
    truth = torch.cat([truth, *levels, *levels])
    estimate = torch.cat(
        [estimate, *levels[::-1], *(truth[i : i + 1] for i in range(5))]
    )  # flat for flat, detail for flat
    open_ = Mask(torch.zeros(200, 1, SIDE, SIDE, dtype=torch.bool))
    o = Outcome(truth, Measurement(open_, open_.forward(truth)), "mean", estimate)
    pairs = list(zip(*shown(o), strict=True))
    same = [bool((e == t).all()) for e, t in pairs]
    assert (len(pairs), sum(same)) == (200, 1)  # the middle level
    psnr = [100.0 if s else peak_signal_noise_ratio(t, e, data_range=1) for s, (e, t) in zip(same, pairs, strict=True)]
    np.testing.assert_allclose(Psnr().components(o)["sum"], psnr, rtol=0, atol=1e-4)
    ssim = [reference_ssim(e, t, "reflect") for e, t in pairs]
    np.testing.assert_allclose(Ssim().components(o)["sum"], ssim, rtol=0, atol=1e-5)
