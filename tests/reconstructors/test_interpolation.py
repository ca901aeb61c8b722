import numpy as np
import pytest
import torch
from scipy.interpolate import griddata
from support.messages import raises

from invkit.core.keys import Keys
from invkit.evaluation.metrics import Unavailable
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.interpolation import Linear, Nearest


def of(observed: torch.Tensor, x: torch.Tensor) -> Measurement:
    mask = Mask(observed, x.shape[1])
    return Measurement(mask, mask.forward(x))


def plane(batch: int = 2, shape: tuple[int, int] = (7, 9)) -> torch.Tensor:
    """Pictures that are linear in both coordinates."""
    row, column = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    slopes = torch.tensor([[0.1, -0.02], [-0.05, 0.03], [0.0, 0.07]])
    return (slopes[:, 0, None, None] * row + slopes[:, 1, None, None] * column).expand(batch, -1, -1, -1).contiguous()


@pytest.mark.parametrize("channels", [1, 3])
def test_planes_are_reproduced_inside_the_hull_and_nearest_outside(channels):
    x = plane()
    observed = Keys.of(0, "linear", range(2)).uniform("m", channels, 7, 9) < 0.2
    m = of(observed, x)
    out, near = Linear().mean(m), Nearest().mean(m)
    seen = observed.expand_as(x)
    inside = torch.zeros_like(seen)
    for b, c in np.ndindex(2, 3):
        points = seen[b, c].nonzero().numpy()
        hull = griddata(points, np.ones(len(points)), np.argwhere(np.ones((7, 9))), "linear")
        inside[b, c] = torch.from_numpy(np.isfinite(hull)).view(7, 9)
    assert inside.any() and not inside.all()
    torch.testing.assert_close(out[inside], x[inside])
    torch.testing.assert_close(out[~inside], near[~inside])
    assert (near - x)[inside].abs().max() > 0.05
    assert torch.equal(out[seen], x[seen])


def test_it_is_one_picture_after_the_other():
    x = Keys.of(0, "x", range(3)).normal("x", 3, 6, 6)
    m = of(Keys.of(0, "m", range(3)).uniform("m", 1, 6, 6) < 0.4, x)
    assert torch.equal(Linear().mean(m), torch.cat([Linear().mean(m[i : i + 1]) for i in range(3)]))


@pytest.mark.parametrize("places", [[(2, 1), (2, 4), (2, 7)], [(0, 0), (3, 3), (5, 5)], [(1, 0), (3, 1)]])
def test_centres_on_one_line_are_joined_along_it(places):
    x = plane(1)
    observed = torch.zeros(1, 1, 7, 9, dtype=torch.bool)
    for place in places:
        observed[0, 0, *place] = True
    out = Linear().mean(of(observed, x))
    first, last = np.array(places[0]), np.array(places[-1])
    step = last - first
    for cell in np.ndindex(7, 9):
        share = float(np.clip((np.array(cell) - first) @ step / (step @ step), 0, 1))
        want = (1 - share) * x[0, :, *first] + share * x[0, :, *last]
        torch.testing.assert_close(out[0, :, *cell], want)


def test_every_second_line_is_joined_to_the_next():
    x = plane(1)
    observed = (torch.arange(7) % 2 == 0)[None, None, :, None].expand(1, 1, 7, 9)
    torch.testing.assert_close(Linear().mean(of(observed, x)), x)


def test_one_pixel_spreads_and_none_is_grey():
    x = plane(2)
    observed = torch.zeros(2, 1, 7, 9, dtype=torch.bool)
    observed[0, 0, 3, 4] = True
    for method in (Linear(), Nearest()):
        out = method.mean(of(observed, x))
        assert torch.equal(out[0], x[0, :, 3:4, 4:5].expand(3, 7, 9))
        assert not out[1].any()


@pytest.mark.parametrize("method", [Linear(), Nearest()])
def test_they_read_masks_only(method):
    class Other:
        observed = None

    with raises(Unavailable, method.name):
        method.mean(Other())


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_against_a_search(channels):
    keys = Keys.of(0, "n", range(2))
    mask = Mask(keys.uniform("m", channels, 6, 9) < 0.2)
    y = keys.normal("x", 3, 6, 9) * mask.observed
    out = Nearest().mean(Measurement(mask, y))
    seen = mask.observed.expand(2, 3, 6, 9)
    for b, c, r, q in torch.ones(2, 3, 6, 9).nonzero().tolist():
        places = seen[b, c].nonzero().tolist()
        best = min(places, key=lambda p: ((p[0] - r) ** 2 + (p[1] - q) ** 2, p))
        assert out[b, c, r, q] == y[b, c, best[0], best[1]]
