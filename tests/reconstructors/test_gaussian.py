from functools import partial

import pytest

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import HeavyTailedFields, MixtureFields
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.mixture_posterior import MixturePosterior
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.gaussian import ClosedForm

FIELD = MaternField(std=0.5, length=0.2, exponent=2, color=0.3)
MIXTURE, TAILS = MixtureFields().law(), HeavyTailedFields().law()
ROWS = {
    "field": (ClosedForm("gaussian", partial(GaussianPosterior, FIELD)), FIELD, 0.0),
    "mixture": (ClosedForm("oracle", partial(MixturePosterior, MIXTURE)), MIXTURE, 0.7),
    "tails": (ClosedForm("oracle", partial(MixturePosterior, TAILS)), TAILS, 0.2),
}


def figures(row, law, sigma):
    """On draws of the law itself: coverage of the range of 19 samples, and the squared error of samples over that of the mean."""
    grid, keys = Grid(16, 16, 1), Keys.of(0, "cal", range(128))
    x = law.sample(keys, grid)
    mask = Mask((keys.permutation("p", 256) < 26).view(-1, 1, 16, 16), 1)
    m = measure(mask, x, Noise(sigma=sigma), keys)
    mean, samples = row.mean(m), row.sample(m, Keys.of(1, "s", range(128)), 19)
    hidden = (~mask.observed).expand_as(x)
    inside = (samples.amin(0) <= x) & (x <= samples.amax(0))
    error = (mean - x)[hidden].square().mean()
    ratio = (samples - x)[:, hidden].square().mean() / error
    return float(inside[hidden].float().mean()), float(ratio)


@pytest.mark.parametrize("name", ROWS)
def test_rows_in_closed_form_are_calibrated_on_their_own_law(name):
    row, law, sigma = ROWS[name]
    coverage, ratio = figures(row, law, sigma)
    assert coverage == pytest.approx(0.9, abs=0.015) and ratio == pytest.approx(2, abs=0.1)
    assert row.nfe("mean") == row.nfe("sample") == 0
