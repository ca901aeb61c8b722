"""Tiles: their weights, and what is drawn where they meet, held against closed forms."""

from itertools import pairwise

import pytest
import torch
from support.messages import raises
from support.models import build, observe

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.samplers import Heun
from invkit.diffusion.tiling import TiledModel, Tiles, jointly
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

SIDE = 16
STRIP = Grid(2, 3 * SIDE, 1)


@pytest.mark.parametrize("shape", [(16, 16), (17, 16), (40, 23), (9, 50), (1, 33), (64, 97)])
def test_weights_add_up_to_one_and_neighbours_share_a_quarter(shape):
    grid = Grid(*shape, 2)
    tiles = Tiles.of(grid, SIDE)
    assert tiles.grid.shape == (min(SIDE, shape[0]), min(SIDE, shape[1]))
    one = torch.ones(len(tiles), 1, *tiles.grid.shape)
    torch.testing.assert_close(tiles.blend(one), torch.ones(1, *shape))
    x = torch.rand(2, 2, *shape)
    torch.testing.assert_close(tiles.blend(tiles.cut(x)), x)
    assert (tiles.weights >= 0).all()
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in tiles.corners})
        own = tiles.grid.shape[axis]
        assert starts[0] == 0 and starts[-1] == shape[axis] - own
        assert all(0 < b - a <= own - own // 4 for a, b in pairwise(starts))


def test_at_an_inner_edge_a_tile_weighs_next_to_nothing():
    tiles = Tiles.of(STRIP, SIDE)
    first = tiles.weights[0, 0]
    assert first[0] == 1 and first[-1] < 0.05
    assert (first.diff().abs() < 0.5).all()  # a hard edge would jump by one


def test_blended_noise_keeps_its_variance():
    tiles = Tiles.of(Grid(20, 40, 1), SIDE)
    noise = Keys.of(0, "n", range(len(tiles))).normal("n", 1500, *tiles.grid.shape)
    assert (tiles.blend_noise(noise).var(0) - 1).abs().max() < 0.18  # five standard errors
    assert tiles.blend(noise).var(0).min() < 0.6  # what plain weights would do


def exact_denoiser(covariance: torch.Tensor):
    def denoise(z: torch.Tensor, sigma: float) -> torch.Tensor:
        gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(len(covariance)).double(), covariance)
        return (z.flatten(-2) @ gain).view_as(z)

    return denoise


def law(grid: Grid, length: float) -> torch.Tensor:
    cells = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) / SIDE for n in grid.shape))
    return (-torch.cdist(cells, cells) / length).exp()


def covariance_of(denoise, grid: Grid) -> torch.Tensor:
    """Of what Heun draws with a linear denoiser, without chance: every unit of noise is sent through it."""
    unit = torch.eye(grid.pixels, dtype=torch.float64).view(-1, 1, *grid.shape)
    levels = torch.cat([torch.logspace(1.6, -2.5, 40, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    drawn = Heun()(denoise, lambda _: unit, levels).flatten(1)
    return drawn.T @ drawn


def test_the_deviation_and_the_correlation_across_a_seam_are_right():
    """A Gaussian law whose correlation ends within an overlap, as that of what is missing between measured pixels does."""
    tiles, truth = Tiles.of(STRIP, SIDE), law(STRIP, 0.15)
    own = exact_denoiser(law(tiles.grid, 0.15))
    drawn = covariance_of(jointly(tiles, lambda z, sigma, part: own(z, sigma), 2), STRIP)
    assert (drawn.diagonal().sqrt() - 1).abs().max() < 0.01
    lag = drawn[:48, :48].diagonal(2), truth[:48, :48].diagonal(2)
    assert (lag[0] / lag[1] - 1).abs().max() < 0.07
    # What is drawn tile by tile and blended afterwards: too sure of itself, or, with roots of the weights, torn at the seams.
    for power, deviation, correlation in ((1.0, 0.75, 1.0), (0.5, 1.0, 0.85)):
        after = torch.zeros_like(truth)
        for i, (t, l) in enumerate(tiles.corners):
            lift = torch.zeros(STRIP.shape, dtype=torch.float64)
            lift[t : t + 2, l : l + SIDE] = tiles.weights[i, 0] ** power
            after += lift.flatten()[:, None] * truth * lift.flatten()
        assert after.diagonal().min().sqrt() < deviation + 1e-9
        assert (after[:48, :48].diagonal(2) / lag[1]).min() < correlation


@pytest.mark.parametrize(("length", "deviation"), [(0.25, 0.99), (0.5, 0.965), (1.0, 0.925)])
def test_what_reaches_beyond_a_tile_is_drawn_too_sure(length, deviation):
    """As documented: by 1 % at a quarter of the tile, 4 % at half of it, 7 % at all of it."""
    own = exact_denoiser(law(Grid(2, SIDE, 1), length))
    drawn = covariance_of(jointly(Tiles.of(STRIP, SIDE), lambda z, sigma, part: own(z, sigma), 9), STRIP)
    assert drawn.diagonal().sqrt().min() == pytest.approx(deviation, abs=0.005)


def test_groups_change_nothing():
    tiles, own = Tiles.of(STRIP, SIDE), exact_denoiser(law(Grid(2, SIDE, 1), 0.3))
    z = Keys.of(0, "z", range(3)).normal("z", 1, *STRIP.shape).double()
    one, all_ = (jointly(tiles, lambda z, sigma, part: own(z, sigma), group)(z, 0.5) for group in (1, 99))
    torch.testing.assert_close(one, all_)


def test_one_tile_is_the_model_itself():
    model, (_, m) = build(perturb=0.05), observe(1)
    torch.testing.assert_close(TiledModel(model, m).mean(), model.mean(m))
    keys, settings = Keys.of(0, "s", [0]), Sample(steps=3)
    samples = TiledModel(model, m).sample(keys, 24, settings)
    same = model.sample(m, keys.child("other"), 24, settings)
    assert samples.shape == same.shape
    assert (samples.std(0).mean() / same.std(0).mean() - 1).abs() < 0.1


def wide(width: int = 40) -> Measurement:
    keys = Keys.of(0, "wide", [0])
    x = keys.uniform("x", 3, 16, width) * 2 - 1
    mask = Mask(keys.uniform("m", 1, 16, width) < 0.2)
    return Measurement(mask, mask.forward(x))


def test_a_tile_sees_its_own_part_only():
    """A value changes the mean of its own tiles, and nothing beyond them."""
    model, m = build(perturb=0.05), wide()
    tiles = Tiles.of(m.grid, 16)
    column = int(m.observed[0, 0].any(0).nonzero()[0])
    assert column < tiles.corners[1][1]
    y = m.y.clone()
    y[..., column] = y[..., column] * -1
    moved = (TiledModel(model, Measurement(m.operator, y)).mean() - TiledModel(model, m).mean()).abs().amax((0, 1, 2))
    assert moved[:8].max() > 1e-3
    # Its fill reaches one tile; a neighbour that shares a blended fill reaches as far as itself.
    assert moved[tiles.corners[1][1] + 16 :].max() == 0


def test_samples_are_keyed_and_their_first_ones_do_not_depend_on_how_many():
    model, m, settings = build(perturb=0.05), wide(), Sample(steps=2)
    tiled = TiledModel(model, m)
    draws = tiled.sample(Keys.of(1, "s", [7]), 3, settings)
    torch.testing.assert_close(tiled.sample(Keys.of(1, "s", [7]), 3, settings), draws, rtol=0, atol=0)
    torch.testing.assert_close(tiled.sample(Keys.of(1, "s", [7]), 2, settings), draws[:2], rtol=1e-4, atol=1e-4)
    assert (tiled.sample(Keys.of(2, "s", [7]), 3, settings) - draws).abs().max() > 0.1


def test_what_tiles_cannot_do_is_refused():
    model, m = build(), wide()
    blind = m.operator.observed.clone()
    blind[..., 24:] = False
    with raises(ValueError, "16x16", 0, 24):
        TiledModel(model, Measurement(Mask(blind), m.y * blind))

    with raises(ValueError):
        TiledModel(model, Measurement(_Blind(m.operator), m.y))  # type: ignore[arg-type]


class _Blind:
    """An operator that is no mask."""

    def __init__(self, mask: Mask) -> None:
        self.grid = mask.grid

    def __len__(self) -> int:
        return 1
