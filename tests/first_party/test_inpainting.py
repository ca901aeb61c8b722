from fractions import Fraction

import numpy as np
import pytest
import torch
from invkit_inpainting import Box, Boxes, MaskImage, Strokes
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage, stats
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys


def hidden(degradation, grid, n=5):
    return ~degradation.sample(Keys.of(0, "op", range(n)), grid).observed[:, 0]


@pytest.mark.parametrize(
    ("place", "corner"), [((0.0, 0.0), (0, 0)), ((1.0, 1.0), (16, 24)), ((0.5, 0.5), (8, 12)), ((0.0, 1.0), (0, 24))]
)
def test_a_box_lies_where_it_should(place, corner):
    box = hidden(Box(side=0.5, place=place), Grid(32, 40))[0].nonzero()
    assert tuple(box.amin(0).tolist()) == corner and (box.amax(0) - box.amin(0)).tolist() == [15, 15]


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("side", [0.5, 0.25, 0.1])
def test_a_box_has_the_cells_whose_centres_it_contains_in_exact_arithmetic(side, place):
    for n in range(12, 120):
        length, centres = Fraction(str(side)), [Fraction(2 * i + 1, 2 * n) for i in range(n)]
        start = Fraction(str(place)) * (1 - length)
        found = hidden(Box(side=side, place=(place, place)), Grid(n, n, 1), 1)[0].any(1)
        assert found.tolist() == [start <= centre < start + length for centre in centres], n


def test_a_random_box_is_anywhere_within():
    masks = hidden(Box(side=0.25), Grid(32, 64), 2000)
    assert (masks.sum((1, 2)) == 64).float().mean() > 0.99
    rows = masks.any(2).float().argmax(1) + keyed_jitter(2000)
    assert stats.kstest((rows / 25).numpy(), "uniform").pvalue > 1e-3


def keyed_jitter(n):
    return Keys.of(0, "jitter", range(n)).uniform("u", 1).view(-1)


def test_the_same_box_on_every_grid():
    coarse, fine = hidden(Box(side=0.5), Grid(16, 24)), hidden(Box(side=0.5), Grid(64, 96))
    reduced = torch.nn.functional.avg_pool2d(fine[:, None].double(), 4)[:, 0]
    assert torch.equal(reduced.round().bool()[(reduced - 0.5).abs() > 0.3], coarse[(reduced - 0.5).abs() > 0.3])
    assert hidden(Box(side=0.01), Grid(8, 8)).sum((1, 2)).tolist() == [1] * 5


def test_boxes_are_many_and_of_their_sizes():
    one = hidden(Boxes(count=1, side=(0.2, 0.4)), Grid(40, 60), 300)
    for axis in (1, 2):
        side = one.any(axis).sum(1)
        assert side.min() >= 7 and side.max() <= 17 and len(side.unique()) >= 8
    parts = [ndimage.label(m.numpy())[1] for m in hidden(Boxes(count=5, side=(0.05, 0.08)), Grid(80, 80), 40)]
    assert max(parts) == 5 and min(parts) >= 2


def test_strokes_hide_more_where_they_are_wider():
    thin, thick = (hidden(Strokes(width=w), Grid(48, 48), 20).double().mean() for w in (0.05, 0.15))
    assert 0.05 < thin < 0.8 * thick < 0.8


def test_a_picture_is_the_mask(tmp_path):
    pixels = np.full((40, 60), 255, np.uint8)
    pixels[10:20, 15:45] = 0
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "mask.png")
    degradation = MaskImage(file=str(tmp_path / "mask.png"))
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[2:4, 3:9] = True
    assert all(torch.equal(mask, expected) for mask in hidden(degradation, Grid(8, 12), 2))
    assert torch.equal(
        hidden(degradation, Grid(80, 120), 1)[0], torch.from_numpy(np.kron(pixels == 0, np.ones((2, 2))) > 0)
    )


def test_a_mask_is_cropped_and_turned_as_images_are(tmp_path):
    """So that a mask drawn over a photograph fits it on the grid."""
    white = np.random.default_rng(0).random((40, 70)) < 0.5
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(white * np.uint16(65535))).save(tmp_path / "mask.tif", exif=exif)
    observed = ~hidden(MaskImage(file=str(tmp_path / "mask.tif")), Grid(40, 40), 1)[0]
    assert torch.equal(observed, torch.from_numpy(white[:, 15:55]))


def test_a_mask_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        with raises(DataError, name):
            hidden(MaskImage(file=str(tmp_path / name)), Grid(8, 8))


@pytest.mark.parametrize(
    "make", [lambda: Box(side=1.0), lambda: Box(place=(0.0, 1.1)), lambda: Boxes(side=(0.4, 0.2)), MaskImage]
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValidationError):
        make()
