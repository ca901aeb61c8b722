import pytest
import torch
from support.exact_prior import MATERN, last_step

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import MaternField, WhiteField, resample
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable
from invkit.reconstructors.zeroshot import FieldPrior


@pytest.mark.parametrize(
    "field", [WhiteField(reference=16), MaternField(length=0.15, exponent=1.5)], ids=["white", "matern"]
)
def test_one_step_of_dps_means_the_same_on_every_grid(field):
    moved = {}
    for n in (16, 32):
        grid, keys = Grid(n, n, 1), Keys.of(0, "g", range(2))
        rows = torch.eye(4, dtype=torch.float64).repeat_interleave(n // 4, 1)[None] * 4 / n
        operator = Separable(2, grid, rows=rows, columns=rows)
        m = measure(operator, MATERN.sample(keys, grid), Noise(sigma=0), keys)
        prior, noise = FieldPrior(MATERN, field), field.sample(keys, grid, "n")
        step = last_step("dps", prior, m, 0.5, noise, step=1.0) - prior.denoise(0.5 * noise, 0.5)
        moved[n] = resample(step, (16, 16))
    assert float((moved[16] - moved[32]).norm() / moved[16].norm()) < 0.05
    assert float(moved[16].square().mean().sqrt()) > 0.1


def test_a_step_of_dps_is_the_gradient_of_the_misfit():
    """Against differences along pixels, in float64, for white noise, whose C is the identity."""
    grid, keys, s = Grid(4, 5, 1), Keys.of(0, "d", [0]), 0.5
    operator = Mask(keys.uniform("m", 1, 4, 5) < 0.5, 1)
    prior = FieldPrior(MATERN, WhiteField(reference=4))
    y, n = operator.forward(MATERN.sample(keys, grid).double()), keys.normal("n", 1, 4, 5).double()
    unit = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5) * 1e-6

    def misfits(x):
        r = operator.repeat(20).forward(prior.denoise(x, s)) - y
        return (r.square().flatten(1).sum(1) * grid.area).sqrt()

    slope = (misfits(s * n + unit) - misfits(s * n - unit)).view(1, 1, 4, 5) / 2e-6 / grid.area
    moved = last_step("dps", prior, Measurement(operator, y), s, n, step=0.2) - prior.denoise(s * n, s)
    torch.testing.assert_close(moved, -0.2 * slope, rtol=1e-6, atol=1e-6)
