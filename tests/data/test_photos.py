import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from invkit.core.grid import Grid
from invkit.data.photos import Photos, crop_box, embedded

FOLDER = files("invkit.data") / "embedded"
ENTRIES = json.loads((FOLDER / "photos.json").read_text("utf-8"))


def test_every_photograph_ships_with_its_attribution():
    attribution = (FOLDER / "ATTRIBUTION.md").read_text("utf-8")
    assert len(ENTRIES) == 49
    for entry in ENTRIES:
        row = next(line for line in attribution.splitlines() if line.startswith(f"| {entry['file']} |"))
        assert entry["author"] in row and entry["source"] in row
        assert ("creativecommons.org" in row) == entry["license"].startswith("CC")


def test_the_split_is_by_photograph():
    names = {split: {photo.name for photo in embedded(split)} for split in ("train", "test")}
    assert (len(names["train"]), len(names["test"])) == (35, 14) and not names["train"] & names["test"]
    for split in names:
        images = Photos().open(split, Grid(8, 8), 0)
        assert {images.group(i) for i in range(min(len(images), 500))} == names[split]


def test_crops_are_keyed_by_seed_and_id_alone():
    images = Photos().open("train", Grid(16, 16), 3)
    batch = images[[5, 9, 2]]
    assert batch.shape == (3, 3, 16, 16) and batch.dtype == torch.float32
    assert torch.equal(batch[1:2], images[[9]]) and torch.equal(batch, images[[5, 9, 2]])
    assert torch.equal(batch, Photos(crops=10).open("train", Grid(16, 16), 3)[[5, 9, 2]])
    assert not torch.equal(batch, Photos().open("train", Grid(16, 16), 4)[[5, 9, 2]])
    assert batch.min() >= -1 and batch.max() <= 1


def test_the_test_list_is_fixed_and_covers_all_photographs_evenly():
    images = Photos().open("test", Grid(16, 16), 0)
    assert len(images) == 14 * 16
    assert torch.equal(images[range(20)], Photos(crops=5).open("test", Grid(16, 16), 7)[range(20)])
    groups = [images.group(i) for i in range(len(images))]
    assert all(len(set(groups[i : i + 14])) == 14 for i in range(0, len(groups), 14))


def test_a_finer_grid_shows_the_same_crop():
    for split in ("train", "test"):
        coarse, fine = (Photos().open(split, Grid(n, n), 1)[range(40)] for n in (32, 64))
        assert torch.allclose(avg_pool2d(fine, 2), coarse, atol=1e-5)
    coarse, fine = (Photos().open("train", Grid(n, 2 * n), 1)[range(20)] for n in (16, 32))
    assert torch.allclose(avg_pool2d(fine, 2), coarse, atol=1e-5)


def test_about_half_of_the_training_crops_are_flipped_and_no_test_crop(monkeypatch):
    left_dark = np.tile(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (200, 1, 3))
    from invkit.data import photos
    from invkit.data.resampling import area_table

    monkeypatch.setattr(photos, "embedded", lambda split: (photos.Photo("ramp", area_table(left_dark)),))
    for split, low, high in (("train", 0.4, 0.6), ("test", 0, 0)):
        pictures = Photos().open(split, Grid(4, 4), 0)[range(400 if split == "train" else 16)]
        share = (pictures[:, 0, 0, 0] > pictures[:, 0, 0, 3]).float().mean()
        assert low <= share <= high


def test_crop_boxes_lie_in_the_photograph_and_never_enlarge_it():
    sides = []
    for scale in np.linspace(0, 1, 21):
        for place in ((0.0, 0.0), (1.0, 1.0), (0.3, 0.8)):
            for shape, grid in (((213, 320), Grid(32, 32)), ((126, 320), Grid(32, 64)), ((320, 212), Grid(100, 50))):
                top, left, bottom, right = crop_box(shape, scale, place, 64, grid)
                assert top >= 0 and left >= 0 and bottom <= shape[0] + 1e-9 and right <= shape[1] + 1e-9
                assert (bottom - top) / (right - left) == pytest.approx(grid.height / grid.width)
                assert bottom - top >= grid.height - 1e-9
                sides.append(min(bottom - top, right - left))
    assert min(sides) == pytest.approx(64)
    assert crop_box((213, 320), 1.0, (0.5, 0.5), 64, Grid(8, 8))[::2] == pytest.approx((0, 213))
    assert crop_box((200, 200), 0.0, (0.5, 0.5), 64, Grid(128, 128)) == pytest.approx(
        (36, 36, 164, 164)
    )  # at least 128


def test_a_whole_square_photograph_equals_pillow_on_divisible_sizes():
    entry = next(e for e in ENTRIES if e["width"] == e["height"] == 320)
    photo = next(p for s in ("train", "test") for p in embedded(s) if p.name == entry["file"])
    from invkit.data.resampling import cell_averages

    with (FOLDER / entry["file"]).open("rb") as file:
        expected = np.asarray(Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BOX), float)
    box = crop_box(photo.shape, 1.0, (0.0, 0.0), 64, Grid(32, 32))
    assert np.abs(cell_averages(photo.table, box, Grid(32, 32)) - expected).max() <= 0.51 + 0.5


def test_limits_and_notes():
    assert len(Photos().open("test", Grid(8, 8), 0, limit=5)) == 5
    assert Photos().open("test", Grid(64, 64), 0).notes == ()
    assert "256x256" in Photos().open("test", Grid(256, 256), 0).notes[0]
