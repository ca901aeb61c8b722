import math

import torch
from support.mutants import WidthInPixels
from support.sound import Ghost, SomePixels

from invkit.core.grid import Grid
from invkit.testing.resolution import check_cost, check_resolution, smooth
from invkit.testing.trials import make_trials


def test_smooth_pictures_are_cell_averages_of_one_function():
    coarse, fine = smooth(Grid(12, 18, 2), 3, 0), smooth(Grid(24, 36, 2), 3, 0)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(fine, 2), coarse)
    assert coarse.std() > 1
    # against the integral of the highest mode over the first cell
    k, cells = 7, 12
    integral = math.sin(math.pi * k / cells) / (math.pi * k) * cells
    place = torch.tensor(0.5 / cells)
    assert math.isclose(
        integral, math.cos(math.pi * k * place) * torch.sinc(torch.tensor(k / (2 * cells))), rel_tol=1e-6
    )


def test_the_law_tells_lengths_from_pixels():
    shares, pixels = (check_resolution(make_trials(cls, 4, 0, None)) for cls in (Ghost, WidthInPixels))
    assert shares.figure < 0.005 < 0.2 < pixels.figure


def test_a_law_that_is_not_declared_is_skipped():
    check = check_resolution(make_trials(SomePixels, 4, 0, None))
    assert check.passed and check.skipped and str(check).split()[1] == "skipped"


def test_the_cost_of_a_product_is_far_from_the_bound():
    check = check_cost(make_trials(SomePixels, 4, 0, None))
    assert 0 < check.figure < check.tolerance / 10
