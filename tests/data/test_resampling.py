import numpy as np
import pytest
import torch

from invkit.core.grid import Grid
from invkit.data.resampling import area_table, box_averages, cell_averages, centre_box, enlarges, to_batch


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 23, 31, 3), np.uint8)


def brute(pixels, box, grid, fine=840):
    """Averages over many points of every cell; exact where `fine` points a pixel meet every border."""
    top, left, bottom, right = box

    def weights(start, end, cells, n):
        edges = np.linspace(start, end, cells + 1)
        low, high = np.maximum(edges[:-1, None], np.arange(n)), np.minimum(edges[1:, None], np.arange(n) + 1)
        return (high - low).clip(0) / np.diff(edges)[:, None]

    rows = weights(top, bottom, grid.height, pixels.shape[-3])
    columns = weights(left, right, grid.width, pixels.shape[-2])
    return np.einsum("ih,bhwc,jw->bijc", rows, pixels.astype(float), columns)


@pytest.mark.parametrize("box", [(0, 0, 23, 31), (1.25, 2.5, 20.75, 22), (3.1, 4.2, 5.3, 6.4), (0, 8, 23, 31)])
@pytest.mark.parametrize("grid", [Grid(1, 1), Grid(4, 5), Grid(23, 31), Grid(40, 7)])
def test_averages_are_exact_overlaps(pixels, box, grid):
    expected = brute(pixels, box, grid)
    assert np.allclose(cell_averages(area_table(pixels), box, grid), expected, atol=1e-6)
    assert np.allclose(box_averages(pixels, box, grid), expected, atol=1e-6)


def test_sums_of_a_large_white_picture_do_not_overflow():
    white = np.full((3000, 3000, 1), 255, np.uint8)
    assert area_table(white)[-1, -1, 0] == 255 * 3000 * 3000
    assert np.allclose(cell_averages(area_table(white), (0, 0, 3000, 3000), Grid(2, 2)), 255)


def test_the_centre_box_has_the_aspect_and_touches_the_border():
    assert centre_box((20, 30), Grid(4, 4)) == (0, 5, 20, 25)
    assert centre_box((20, 30), Grid(4, 12)) == (5, 0, 15, 30)
    assert enlarges((31, 64), Grid(32, 32)) and not enlarges((32, 64), Grid(32, 32))


def test_batches_are_channels_first_in_minus_one_to_one(pixels):
    batch = to_batch(pixels, Grid(23, 31))
    assert batch.dtype == torch.float32 and batch.is_contiguous()
    assert torch.allclose(batch[1, 2], torch.from_numpy(pixels[1, ..., 2] / 127.5 - 1).float(), atol=1e-6)
    with pytest.raises(AssertionError):
        to_batch(pixels, Grid(23, 31, 1))
