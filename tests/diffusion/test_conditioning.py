import pytest
import torch
from support.models import PRIOR, observe

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import initial_estimate
from invkit.physics.gaussian import FittedField
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask


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


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_images_of_one_grey_value_each_leave_a_standard_deviation_to_divide_by(share):
    keys, grid = Keys.of(0, "grey", range(64)), Grid(16, 16)
    x = (keys.uniform("grey", 1, 1, 1) * 2 - 1).expand(-1, *grid.picture)
    mask = Mask(keys.uniform("mask", 1, 16, 16) < share, 3)
    filled = initial_estimate("gaussian", FittedField.fit(x, grid), Measurement(mask, mask.forward(x)))
    assert filled.residual(x).isfinite().all() and (filled.std > 0).all()
    torch.testing.assert_close(filled.mean, x, rtol=0, atol=1e-3)
