import math
from dataclasses import replace

import pytest
import torch
from support.models import GRID, PRIOR, build, observe

from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.passes import Passes
from invkit.diffusion.samplers import Heun
from invkit.physics.gaussian import Achromatic
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask


def test_at_step_zero_the_mean_is_kriging():
    """Of every channel by itself, under the mean field of the channels."""
    _, m = observe()
    centre = PRIOR.color.float().view(3, 1, 1)
    missing = ((m.y - centre) * m.observed).transpose(0, 1).reshape(-1, 1, 16, 16)  # every channel a picture
    grey = Measurement(Mask(m.operator.observed.repeat(3, 1, 1, 1), 1), missing)
    centred = replace(PRIOR, color=torch.zeros(3).double())
    want = GaussianPosterior(Achromatic(centred, 3), grey).mean().view(3, -1, 16, 16).transpose(0, 1)
    want = want + centre
    torch.testing.assert_close(
        build().mean(m), torch.where(m.observed, build().condition(m).estimate.mean, want), rtol=0, atol=1e-4
    )
    full = GaussianPosterior(PRIOR, m).mean()
    assert (want - full).abs().mean() < 0.1 * (full - centre).abs().mean()


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_the_truth_beyond_the_measurement_never_enters(sigma):
    """Leakage: the hidden pixels of the truth permuted, everything else kept, and no output moves."""
    model = build(perturb=0.1)
    x, m = observe(sigma=sigma)
    hidden = (~m.observed).expand_as(x)
    shuffled = x.clone()
    shuffled[hidden] = x[hidden].flip(0)
    assert not torch.equal(x, shuffled)
    keys = Keys.of(0, "obs", range(4))
    again = measure(m.operator, shuffled, Noise(sigma=sigma), keys)
    for out in (lambda q: model.mean(q), lambda q: model.sample(q, Keys.of(1, "s", range(4)), 2, Sample(steps=2))):
        torch.testing.assert_close(out(m), out(again), rtol=0, atol=0)


def test_another_measurement_gives_another_output():
    model = build(perturb=0.1)
    _, m = observe()
    other = Measurement(m.operator, m.y + 0.2 * m.observed, 0.0)
    keys = lambda: Keys.of(1, "s", range(4))  # noqa: E731
    assert (model.mean(m) - model.mean(other)).abs().mean() > 0.01
    assert (
        model.sample(m, keys(), 1, Sample(steps=2)) - model.sample(other, keys(), 1, Sample(steps=2))
    ).abs().mean() > 0.01


def test_samples_are_keyed_by_picture():
    model = build(perturb=0.1)
    _, m = observe()
    whole = model.sample(m, Keys.of(1, "s", range(4)), 3, Sample(steps=2))
    part = model.sample(m[2:], Keys.of(1, "s", [2, 3]), 3, Sample(steps=2), Passes(at_once=2))
    torch.testing.assert_close(whole[:, 2:], part, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_an_untrained_model_samples_white_residuals(sigma):
    """A zero network is the exact denoiser of unit white residuals on what is hidden."""
    model = build()
    _, m = observe(2, sigma)
    draws = model.sample(m, Keys.of(1, "s", range(2)), 60, Sample(method=Heun(), steps=20))
    condition = model.condition(m)
    z = (draws - condition.estimate.mean) / condition.estimate.std
    free = torch.ones_like(z[0]) if sigma else (~m.observed).float().expand_as(z[0])
    assert float((z.var(0) * free).sum() / free.sum()) == pytest.approx(1, rel=0.05)
    if not sigma:
        assert not (z * m.observed).any()


def test_loss_is_the_weighted_denoising_error():
    """With a zero network the target is a unit variance: the loss of residuals of deviation `scale` is one."""
    model = build()
    keys = Keys.of(0, "l", range(64))
    _, m = observe(64)
    condition, levels = model.condition(m), (torch.arange(64) + 0.5) / 64
    x = condition.estimate.mean + condition.estimate.std * keys.normal("r", *GRID.picture)
    for share in (0.0, 1.0):
        loss = model.loss(x, m, keys.child(str(share)), levels, mean_share=share)
        assert loss.mean().item() == pytest.approx(1, rel=0.05)
    weight = torch.zeros(64, 1, 16, 16)
    weight[..., :2, :2] = 1
    x[..., 4:, 4:] += 100
    plain, query = (
        model.loss(x, m, keys.child(n), levels, mean_share=1.0, weight=w).mean()
        for n, w in (("a", None), ("b", weight))
    )
    assert plain > 1000 and query < 3


def test_the_mean_is_the_output_for_a_zero_state_at_infinity():
    model = build(perturb=0.1)
    _, m = observe()
    condition = model.condition(m)
    infinity = torch.full((4,), math.inf)
    a, b = (model.denoise(z, infinity, condition) for z in (torch.zeros(4, 3, 16, 16), torch.randn(4, 3, 16, 16)))
    assert torch.equal(condition.estimate.image(a), model.mean(m)) and not torch.equal(a, b)
