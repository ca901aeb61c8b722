import pytest
import torch
from support.models import PRIOR, observe

from invkit.diffusion.conditioning import initial_estimate


@pytest.mark.parametrize("fill", ["gaussian", "mean", "zero"])
def test_fills(fill):
    _, m = observe()
    filled = initial_estimate(fill, PRIOR, m)
    out, deviation = filled.mean, filled.std
    assert deviation.shape == (4, 1, 16, 16) and (deviation > 0).all()
    torch.testing.assert_close(out * m.observed, m.y, rtol=0, atol=2e-2 if fill == "gaussian" else 1e-6)
    hidden = out[~m.observed.expand_as(out)]
    if fill == "zero":
        assert not hidden.any()
    if fill == "mean":
        assert len(hidden.unique()) == 3
