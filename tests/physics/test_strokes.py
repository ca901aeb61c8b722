import torch
from scipy import ndimage

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.strokes import strokes


def draw(grid: Grid, ids=range(20), count=1, length=1.0, width=0.1, bend=0.5) -> torch.Tensor:
    return strokes(Keys.of(0, "strokes", ids), grid, count, length, width, bend)


def test_a_stroke_is_one_piece_as_thick_as_asked():
    covered = draw(Grid(64, 96)).numpy()
    for one in covered:
        assert ndimage.label(one)[1] == 1
    thickness = [2 * ndimage.distance_transform_edt(one).max() / 64 for one in covered]  # where it is thickest
    assert 0.09 < min(thickness) < 0.13
    area = draw(Grid(64, 96), range(200), bend=0.0).float().mean() * 1.5
    assert 0.08 < area < 0.115  # length x width, a round end, less where the border folds it over itself


def test_strokes_are_the_same_on_every_grid_and_in_every_batch():
    fine, coarse = draw(Grid(96, 144)), draw(Grid(48, 72))
    reduced = torch.nn.functional.avg_pool2d(fine[:, None].double(), 2)[:, 0]
    assert (reduced.round() != coarse).double().mean() < 0.02
    assert torch.equal(draw(Grid(48, 72), [7]), coarse[7:8])


def test_no_drawing_is_empty_and_settings_matter():
    assert draw(Grid(5, 3), range(500), length=0.01, width=0.001).any(2).any(1).all()
    plain = draw(Grid(32, 32))
    assert draw(Grid(32, 32), count=3).sum() > 1.5 * plain.sum()
    assert draw(Grid(32, 32), length=0.2).sum() < 0.6 * plain.sum() < plain.sum() < draw(Grid(32, 32), width=0.2).sum()
    assert not torch.equal(draw(Grid(32, 32), bend=5.0), plain)
