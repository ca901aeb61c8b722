import pytest
import torch
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.measurement import Noise, measure, measure_points
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


@pytest.mark.parametrize("digits", [None, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [7, 49, 98, 300, 509])
def test_a_point_on_a_border_belongs_to_the_later_cell(n, dtype, digits):
    """Though k/n is rounded, every cell k receives the point k/n, and that only."""
    x = (torch.arange(n, dtype=torch.float64) / n).to(dtype)
    x = x if digits is None else torch.tensor([float(f"{value:.{digits}f}") for value in x.tolist()], dtype=dtype)
    values = torch.arange(n, dtype=torch.float64)[:, None]
    assert torch.equal(
        measure_points(torch.stack([x, x], 1), values, Grid(n, n, 1)).y[0, 0].diagonal(), values[:, 0].float()
    )
    assert bool(measure_points(torch.stack([x * 0, x + 0.99 / n], 1), values, Grid(n, 1, 1)).observed.all())


def test_points_fall_to_their_cell_and_share_it():
    m = measure_points(
        torch.tensor(
            [[[0.0, 0.0], [0.99, 0.01], [1.0, 1.0], [0.9, 0.95]], [[0.3, 0.6], [0.5, 0.5], [0.26, 0.74], [0.3, 0.6]]]
        ),
        torch.tensor([[[0.1], [0.2], [0.3], [0.5]], [[0.3], [0.9], [0.0], [0.3]]]),
        Grid(4, 4, 1),
    )
    first = torch.zeros(4, 4)
    first[0, 0], first[0, 3], first[3, 3] = 0.1, 0.2, 0.4
    second = torch.zeros(4, 4)
    second[2, 1], second[2, 2] = 0.2, 0.9  # x is across, y is down; (0.5, 0.5) belongs to the later cell
    torch.testing.assert_close(m.y, torch.stack([first, second])[:, None])
    assert torch.equal(m.observed, m.y != 0)


def test_wide_grids_use_both_axes():
    m = measure_points(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5, 0.5]]), Grid(2, 10))
    assert m.observed.nonzero().tolist() == [[0, 0, 0, 9]]


@pytest.mark.parametrize("bad", [(1.01, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_points_outside_are_refused(bad):
    with raises(ValueError, 1, 0):
        measure_points(torch.tensor([[0.5, 0.5], bad]), torch.zeros(2, 3), Grid(8, 8))


def test_values_that_do_not_fit_are_refused():
    with raises(ValueError, "(B, N, 3)", "(1, 5, 1)"):
        measure_points(torch.rand(5, 2), torch.zeros(5, 1), Grid(8, 8))
    with raises(ValueError):
        measure_points(torch.rand(1, 2), torch.full((1, 3), float("inf")), Grid(8, 8))
