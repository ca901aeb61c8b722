import pytest
import torch
from invkit_sparse import CenterPixels, Checkerboard, GridPixels, HalfImage, Lines, RandomPixels, StrokePixels
from pydantic import ValidationError
from scipy import stats
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys

GRIDS = [Grid(32, 32), Grid(7, 12), Grid(33, 20), Grid(1, 1)]


def draw(degradation, grid, n=5, seed=0):
    return degradation.sample(Keys.of(seed, "op", range(n)), grid).observed


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("fraction", [0.1, 0.37, 1.0])
def test_random_is_an_exact_count(grid, fraction):
    assert (
        draw(RandomPixels(fraction=fraction), grid).sum((1, 2, 3)).tolist()
        == [max(1, round(fraction * grid.pixels))] * 5
    )


def test_random_draws_every_pixel_alike_and_by_key():
    counts = draw(RandomPixels(), Grid(8, 8), 20_000).sum(0).flatten()
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    a, b = draw(RandomPixels(), Grid(32, 32)), draw(RandomPixels(), Grid(32, 32), seed=1)
    assert not torch.equal(a, b) and not torch.equal(a[0], a[1])
    part = RandomPixels().sample(Keys.of(0, "op", [3]), Grid(32, 32)).observed
    assert torch.equal(a[3:4], part)


def test_a_range_is_drawn_for_each_picture():
    share = draw(RandomPixels(fraction=(0.05, 0.3)), Grid(32, 32), 2000).float().mean((1, 2, 3))
    assert 0.0495 <= float(share.min()) < 0.06 and 0.29 < float(share.max()) <= 0.3005
    assert stats.kstest((share.numpy() - 0.05) / 0.25, "uniform").pvalue > 1e-3


def test_sensors_are_the_same_places_on_finer_grids():
    masks = {n: draw(RandomPixels(sensors=32), Grid(n, n)) for n in (32, 64, 128)}
    coarse = torch.nn.functional.max_pool2d(masks[64].float(), 2).bool()
    assert torch.equal(coarse, masks[32])
    assert torch.equal(torch.nn.functional.max_pool2d(masks[128].float(), 4).bool(), masks[32])
    assert {m.sum((1, 2, 3)).unique().item() for m in masks.values()} == {102}
    assert torch.equal(masks[32], draw(RandomPixels(), Grid(32, 32)))
    with raises(ValueError, "32x32", "16x16"):
        draw(RandomPixels(sensors=32), Grid(16, 16))


def test_grid_has_its_stride_and_offset():
    observed = draw(GridPixels(stride=3, offset=(1, 2)), Grid(8, 10))[0, 0]
    assert observed.nonzero().tolist() == [[r, c] for r in (1, 4, 7) for c in (2, 5, 8)]
    random = draw(GridPixels(stride=4, offset="random"), Grid(8, 8), 500)
    assert (random.sum((1, 2, 3)) == 4).all() and len(random.flatten(1).unique(dim=0)) == 16


@pytest.mark.parametrize("grid", GRIDS[:3])
@pytest.mark.parametrize("n", [1, 2, 37, 84])
def test_center_is_the_exact_count_nearest_the_centre(grid, n):
    observed = draw(CenterPixels(n=n), grid)[0, 0]
    assert int(observed.sum()) == n
    rows, columns = torch.meshgrid(*(torch.arange(m) - (m - 1) / 2 for m in grid.shape), indexing="ij")
    distance = rows**2 + columns**2
    assert distance[observed].max() <= distance[~observed].min() if n < grid.pixels else True


def test_no_grid_mask_is_empty():
    assert draw(GridPixels(stride=40, offset="random"), Grid(8, 5), 200).sum((1, 2, 3)).tolist() == [1] * 200
    with raises(ValueError, "(30, 0)", "8x8"):
        draw(GridPixels(stride=40, offset=(30, 0)), Grid(8, 8))


def test_center_102_and_block():
    assert draw(CenterPixels(n=102), Grid(32, 32)).sum((1, 2, 3)).tolist() == [102] * 5
    block = draw(CenterPixels(block=10 / 32), Grid(32, 32))[0, 0]
    assert block.nonzero().amin(0).tolist() == [11, 11] and int(block.sum()) == 100
    assert int(draw(CenterPixels(fraction=0.1), Grid(64, 64))[0].sum()) == 410
    with raises(ValueError, 65, "8x8", 64):
        draw(CenterPixels(n=65), Grid(8, 8))


def test_lines_are_every_strides_row_or_column():
    assert draw(Lines(stride=3, offset=1), Grid(8, 5))[0, 0].nonzero().unique(dim=0)[:, 0].unique().tolist() == [
        1,
        4,
        7,
    ]
    columns = draw(Lines(along="columns", offset=5), Grid(4, 7))[2, 0]
    assert columns.all(0).nonzero().flatten().tolist() == [1, 3, 5] and int(columns.sum()) == 12
    random = draw(Lines(stride=4, offset="random"), Grid(8, 8), 100)
    assert (random.sum((1, 2, 3)) == 16).all() and len(random.flatten(1).unique(dim=0)) == 4
    assert draw(Lines(stride=9, offset="random"), Grid(3, 3), 50).any(3).any(2).all()


def test_a_checkerboard_has_no_neighbours():
    board, other = (draw(Checkerboard(first=first), Grid(5, 6))[0, 0] for first in ("seen", "hidden"))
    assert board[0, 0] and torch.equal(board, ~other) and int(board.sum()) == 15
    assert not (board[1:] & board[:-1]).any() and not (board[:, 1:] & board[:, :-1]).any()
    assert len(draw(Checkerboard(first="random"), Grid(5, 6), 50).flatten(1).unique(dim=0)) == 2


@pytest.mark.parametrize(
    ("side", "seen"),
    [("left", (..., slice(0, 4))), ("right", (..., slice(3, 7))), ("top", (slice(0, 3),)), ("bottom", (slice(3, 6),))],
)
def test_half_a_picture(side, seen):
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[seen] = True
    assert torch.equal(draw(HalfImage(side=side), Grid(6, 7))[3, 0], expected)


def test_random_halves_are_all_four():
    assert len(draw(HalfImage(side="random"), Grid(6, 7), 100).flatten(1).unique(dim=0)) == 4


def test_strokes_are_what_is_seen():
    few, many = (draw(StrokePixels(count=n), Grid(32, 32)).double().mean() for n in (1, 16))
    assert 0 < few < 0.15 < many < 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomPixels(fraction=0), lambda: RandomPixels(fraction=1.1), lambda: RandomPixels(fraction=(0.3, 0.1)),
        lambda: GridPixels(stride=2, offset=(0, 2)), lambda: GridPixels(stride=0), CenterPixels,
        lambda: CenterPixels(n=3, block=0.2), lambda: RandomPixels(share=0.1),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(make):
    with pytest.raises(ValidationError):
        make()
