import pytest

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.gaussian import Gaussian


def test_the_gaussian_row_is_calibrated_on_its_own_field():
    """On draws of the field itself: coverage of order statistics, spread against skill, and twice the error."""
    grid, field = Grid(16, 16), MaternField(std=0.5, length=0.2, exponent=2, color=0.3)
    keys = Keys.of(0, "cal", range(96))
    x = field.sample(keys, grid)
    mask = Mask((keys.permutation("p", 256) < 26).view(-1, 1, 16, 16))
    m = measure(mask, x, Noise(), keys)
    row = Gaussian("gaussian", field)
    mean, samples = row.mean(m), row.sample(m, Keys.of(1, "s", range(96)), 19)
    hidden = (~mask.observed).expand_as(x)
    inside = (samples.amin(0) <= x) & (x <= samples.amax(0))
    assert float(inside[hidden].float().mean()) == pytest.approx(0.9, abs=0.01)
    error = (mean - x)[hidden].square().mean()
    assert float((samples - x)[:, hidden].square().mean() / error) == pytest.approx(2, abs=0.08)
    assert row.nfe("mean") == row.nfe("sample") == 0
