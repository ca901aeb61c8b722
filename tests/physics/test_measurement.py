import pytest
import torch

from invkit.core.keys import Keys
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask


def setup(batch=4):
    keys = Keys.of(0, "x", range(batch))
    return keys.normal("x", 3, 16, 16), Mask((keys.permutation("p", 256) < 100).view(-1, 1, 16, 16))


def test_without_noise_y_is_what_was_seen():
    x, a = setup()
    m = measure(a, x, Noise(), Keys.of(0, "n", range(4)))
    assert torch.equal(m.exact, a.observed)
    assert torch.equal(m.y, x * a.observed)
    assert torch.equal(m.paste(torch.zeros_like(x)), x * a.observed)
    samples = m.paste(torch.zeros(5, *x.shape))
    assert samples.shape == (5, *x.shape) and torch.equal(samples[3], x * a.observed)


def test_noise_has_its_deviation_on_measured_values_only_and_is_keyed():
    x, a = setup()
    m = measure(a, x, Noise(sigma=0.5), Keys.of(0, "n", range(4)))
    seen = a.observed.expand_as(x)
    assert float((m.y - x)[seen].std()) == pytest.approx(0.5, rel=0.05)
    assert not m.y[~seen].any()
    assert m.exact is None and torch.equal(
        m.paste(torch.zeros_like(x)), torch.zeros_like(x)
    )  # noisy pixels are not pasted
    part = measure(a[2:], x[2:], Noise(sigma=0.5), Keys.of(0, "n", [2, 3]))
    assert torch.equal(part.y, m.y[2:]) and torch.equal(m[2:].y, part.y)


def test_measuring_changes_nothing():
    x, a = setup()
    before = x.clone(), a.observed.clone()
    measure(a, x, Noise(sigma=0.1), Keys.of(0, "n", range(4)))
    assert torch.equal(x, before[0]) and torch.equal(a.observed, before[1])
