import pytest
import torch
from support.exact_prior import last_step

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import WhiteField
from invkit.physics.measurement import Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.zeroshot import FieldPrior


@pytest.mark.parametrize("sigma_y", [0.0, 0.3])
@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_pigdm_knows_white_pictures_exactly(sigma, sigma_y):
    """`E[x_0 | x, y]` pixel by pixel."""
    grid, keys = Grid(8, 8, 1), Keys.of(0, "w", range(2))
    law, field = WhiteField(std=0.5, reference=8), WhiteField(std=0.7, reference=8)
    m = measure(Mask(keys.uniform("m", 1, 8, 8) < 0.4, 1), law.sample(keys, grid), Noise(sigma=sigma_y), keys)
    n = field.sample(keys, grid, "n")
    precision, weighted = 1 / 0.25 + 1 / (0.7 * sigma) ** 2, sigma * n / (0.7 * sigma) ** 2
    hidden = weighted / precision
    seen = (weighted + m.y / sigma_y**2) / (precision + sigma_y**-2) if sigma_y else m.y
    want = torch.where(m.operator.observed, seen, hidden)
    torch.testing.assert_close(last_step("pigdm", FieldPrior(law, field), m, sigma, n), want, rtol=0, atol=1e-5)
