"""Crops of the user's own files: keyed, exact, and split by file."""

import numpy as np
import pytest
import torch
from support.image_files import encoded, picture, write
from support.messages import missing, raises
from torch.nn.functional import avg_pool2d

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data import crops
from invkit.data.crops import crop_box
from invkit.data.images import ImageFiles
from invkit.data.resampling import area_table, cell_averages

SHAPES = [(90, 120), (150, 64), (64, 64), (70, 200), (100, 100), (81, 99)]


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "scans", {f"{i}.png": encoded(picture(i, shape)) for i, shape in enumerate(SHAPES)}, False)


def data(root, **settings):
    return ImageFiles(root=root, **{"test_share": 0.34, "crops": 500, "min_side": 20} | settings)


def test_crops_are_exact_averages_of_keyed_boxes(root):
    grid = Grid(8, 12)
    images = data(root).open("train", grid, 3)
    assert len(images) == 500 and len({images.group(i) for i in range(500)}) == 4
    ids = [5, 9, 499]
    keys = Keys.of(3, "images/train", ids)
    keys.integers("photo", 4)
    scale, place = keys.uniform("scale").tolist(), keys.uniform("place", 2).tolist()
    for i, x in enumerate(images[ids]):
        number = int(images.group(ids[i]).partition(".")[0])
        box = crop_box(SHAPES[number], scale[i], place[i], 20, grid)
        expected = cell_averages(area_table(picture(number, SHAPES[number])), box, grid)
        np.testing.assert_allclose((x.permute(1, 2, 0) + 1) * 127.5, expected, atol=1e-3)


def test_a_crop_depends_on_seed_and_id_alone(root):
    images, grid = data(root).open("train", Grid(8, 8), 3), Grid(8, 8)
    batch = images[[5, 9, 2]]
    assert batch.shape == (3, 3, 8, 8) and batch.dtype == torch.float32
    assert torch.equal(batch[1:2], images[[9]])
    assert torch.equal(batch, data(root, crops=10).open("train", grid, 3)[[5, 9, 2]])
    record = data(root).record_split(3)
    assert torch.equal(batch, data(root).with_split(record).open("train", grid, 3)[[5, 9, 2]])
    assert not torch.equal(batch, data(root).with_split(record).open("train", grid, 4)[[5, 9, 2]])


def test_test_crops_are_of_other_files_in_turn_for_every_seed(root):
    train, test = (data(root).open(split, Grid(8, 8), 0) for split in ("train", "test"))
    groups = [test.group(i) for i in range(len(test))]
    assert len(test) == 2 * crops.TEST_CROPS and len(set(groups[:2])) == 2 and groups == groups[:2] * crops.TEST_CROPS
    assert not set(groups) & {train.group(i) for i in range(500)}
    bound = data(root).with_split(data(root).record_split(0))
    assert torch.equal(bound.open("test", Grid(8, 8), 7)[range(9)], test[range(9)])
    assert len(data(root).open("test", Grid(8, 8), 0, limit=5)) == 5
    assert test.split_used == "train: 4, test: 2 of scans (no folders train and test, chosen by the seed)"


def test_a_finer_grid_shows_the_same_crop(root):
    coarse, fine = (data(root, min_side=32).open("train", Grid(n, n), 1)[range(20)] for n in (16, 32))
    assert torch.allclose(avg_pool2d(fine, 2), coarse, atol=1e-5)


def test_pixels_are_not_enlarged_and_small_files_are_left_out(root, tmp_path):
    """By default the smallest crop has the pixels of the file."""
    (tmp_path / "scans" / "small.png").write_bytes(encoded(picture(9, (20, 300))))
    images = data(root, min_side=None, test_share=1.0).open("test", Grid(64, 64), 0)
    assert not missing(images.notes[0], "1 images", "small.png") and len(images) == 6 * crops.TEST_CROPS
    x = images[[2 * i for i in range(40)]]
    assert torch.isfinite(x).all()
    square = [i for i in range(96) if images.group(i) == "2.png"]  # of 64x64 pixels: there is one crop only
    expected = torch.from_numpy(picture(2, (64, 64))).permute(2, 0, 1) / 127.5 - 1
    assert all(torch.allclose(x, expected, atol=1e-5) for x in images[square])


def test_memory_is_bounded_and_broken_files_are_named(root, tmp_path, monkeypatch):
    images = data(root).open("train", Grid(8, 8), 0)
    expected = images[range(60)]
    assert len(images._kept) == 4
    monkeypatch.setattr(crops, "IN_MEMORY", 50_000)
    bounded = data(root).open("train", Grid(8, 8), 0)
    assert torch.equal(bounded[range(60)], expected) and len(bounded._kept) <= 2
    cut = encoded(picture(9, (90, 90)), "JPEG")
    (tmp_path / "scans" / "cut.jpg").write_bytes(cut[: len(cut) // 2])  # its header is fine
    with raises(DataError, "cut.jpg", "broken"):
        data(root, test_share=1.0).open("test", Grid(8, 8), 0)[range(7)]


def test_grey_files_of_16_bits_in_the_units_of_the_range(tmp_path):
    deep = np.random.default_rng(0).integers(0, 4096, (4, 40, 50), np.uint16)
    root = write(tmp_path / "deep", {f"{i}.tif": encoded(image, "TIFF") for i, image in enumerate(deep)}, False)
    images = data(root, range=(0.0, 4095.0), min_side=40).open("train", Grid(40, 40, 1), 0)
    x = images[range(30)]
    assert x.shape == (30, 1, 40, 40) and 0.99 < float(x.max()) <= 1.0001 and -1.0001 <= float(x.min()) < -0.99
