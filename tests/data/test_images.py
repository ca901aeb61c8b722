import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support.image_files import broken, encoded, names, picture, write
from support.messages import missing, raises
from torch.nn.functional import avg_pool2d

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import decoding, file_images, listing
from invkit.data.decoding import decode
from invkit.data.images import ImageFiles

GRID = Grid(8, 8)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_folder_and_a_zip_give_the_same_pictures(tmp_path, as_zip):
    contents = {f"{'ab'[i % 2]}/{i}.png": encoded(picture(i)) for i in range(20)}
    contents |= {"a/notes.txt": b"x", "__MACOSX/a/._1.png": b"x", ".hidden/1.png": b"x"}
    data = ImageFiles(root=write(tmp_path / "set", contents, as_zip), test_share=0.2)
    train, test = (data.open(split, GRID, 0) for split in ("train", "test"))
    assert (len(train), len(test), train.notes) == (16, 4, ())
    assert sorted(names(train) + names(test)) == sorted(
        name for name in contents if name[:2] in ("a/", "b/") and ".png" in name
    )
    for i, name in enumerate(names(train)[:4]):
        pixels = torch.from_numpy(picture(int(name[2:-4]))).permute(2, 0, 1).float()
        assert torch.allclose((train[[i]][0] + 1) * 127.5, avg_pool2d(pixels, 2), atol=0.51)


@pytest.mark.parametrize("as_zip", [True, False])
def test_broken_pictures_are_counted_and_named_not_fatal(tmp_path, as_zip):
    contents = {f"train/{i}.png": encoded(picture(i)) for i in range(5)} | {"test/0.png": encoded(picture(9))}
    contents |= {f"train/{name}": data for name, data in broken().items()}
    data = ImageFiles(root=write(tmp_path / "set", contents, as_zip))
    images = data.open("train", GRID, 0)
    assert sorted(names(images)) == [f"train/{i}.png" for i in range(5)] and torch.isfinite(images[range(5)]).all()
    (note,) = images.notes
    assert not missing(note, 6, "train", 1) and "\n" not in note
    assert sum(name in note for name in broken()) == 5
    assert data.open("test", GRID, 0).notes == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="names and files as POSIX has them")
def test_odd_names_are_only_names_and_pipes_are_not_waited_for(tmp_path):
    odd = "train/red\x1b[31m\nline.png", "train/" + os.fsdecode(b"\xff.png"), "train/é.png"
    contents = {name: encoded(picture(i)) for i, name in enumerate(odd)} | {"test/0.png": encoded(picture(9))}
    contents |= {"train/bad\n.png": b""}
    root = Path(write(tmp_path / "set", contents, False))
    os.mkfifo(root / "train" / "pipe.png")
    (root / "train" / "gone.png").symlink_to(root / "nowhere")
    images = ImageFiles(root=str(root)).open("train", GRID, 0)
    assert sorted(names(images)) == ["train/red\ufffd[31m\ufffdline.png", "train/é.png", "train/\ufffd.png"]
    (note,) = images.notes
    assert note.isprintable() and not missing(note, 3, "pipe.png", "train/bad\ufffd.png")
    assert "0x" not in note


@pytest.mark.parametrize("name", ["cut.jpg", "small.png", "float.tif", "other.jpg"])
def test_each_kind_of_broken_picture_is_a_data_error_where_it_is_all_there_is(tmp_path, name):
    contents = {f"train/{name}": broken()[name], "test/0.png": encoded(picture(0))}
    with raises(DataError, "train", name):
        ImageFiles(root=write(tmp_path / "set", contents, True)).open("train", GRID, 0)


def test_files_and_pictures_are_bounded(tmp_path, monkeypatch):
    root = write(tmp_path / "set", {f"{i}.png": encoded(picture(i)) for i in range(4)}, True)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 255)
    with raises(DataError, "0.png", "16x16"):
        ImageFiles(root=root).open("train", GRID, 0)
    monkeypatch.undo()
    for module in (listing, decoding):
        monkeypatch.setattr(module, "MAX_BYTES", 100)
    for bounded in (root, write(tmp_path / "set", {f"{i}.png": encoded(picture(i)) for i in range(4)}, False)):
        with raises(DataError, "0.png"):
            ImageFiles(root=bounded).open("train", GRID, 0)


def test_a_limit_gives_a_prefix_without_decoding_the_rest(tmp_path, monkeypatch):
    contents = {f"train/{i}.png": encoded(picture(i)) for i in range(300)} | {"test/0.png": encoded(picture(300))}
    contents["train/bad.png"] = b""
    data = ImageFiles(root=write(tmp_path / "set", contents, True))
    full = data.open("train", GRID, 0)
    calls = []
    monkeypatch.setattr(decoding, "decode", lambda *a: calls.append(1) or decode(*a))
    part = data.open("train", GRID, 0, limit=10)
    assert len(part) == 10 and names(part) == names(full)[:10] and torch.equal(part[range(10)], full[range(10)])
    assert 10 <= len(calls) <= 65


def test_a_set_too_large_to_keep_is_decoded_when_asked_for(tmp_path, monkeypatch):
    contents = {f"train/{i}.png": encoded(picture(i, (64, 64))) for i in range(5)}
    contents |= {"test/0.png": encoded(picture(0)), "train/small.png": encoded(picture(1, (4, 4)))}
    cut = encoded(picture(7, (64, 64)), "JPEG")
    contents["train/late.jpg"] = cut[: len(cut) // 2]
    for as_zip in (True, False):
        data = ImageFiles(root=write(tmp_path / "set", contents, as_zip))
        monkeypatch.setattr(file_images, "IN_MEMORY", 1 << 30)
        kept = data.open("train", GRID, 0)
        monkeypatch.setattr(file_images, "IN_MEMORY", 10)
        lazy = data.open("train", GRID, 0)
        assert "small.png" in lazy.notes[0] and set(names(lazy)) == {*names(kept), "train/late.jpg"}
        for i, name in enumerate(names(kept)):
            assert torch.equal(lazy[[names(lazy).index(name)]], kept[[i]])
        with raises(DataError, "train/late.jpg"):
            lazy[[names(lazy).index("train/late.jpg")]]


@pytest.mark.parametrize("shape", [(10, 16, 16, 3), (10, 16, 16)])
def test_an_npz_is_split_shuffled_and_averaged(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "a.npz", images=array)
    data = ImageFiles(root=str(tmp_path / "a.npz"), test_share=0.3)
    train, test = (data.open(split, Grid(16, 16), 0) for split in ("train", "test"))
    rows = [int(name) for name in names(train) + names(test)]
    assert len(test) == 3 and sorted(rows) == list(range(10)) != rows
    colour = array if array.ndim == 4 else np.repeat(array[..., None], 3, 3)
    expected = torch.from_numpy(colour[rows[:7]]).permute(0, 3, 1, 2).float()
    assert torch.allclose((train[range(7)] + 1) * 127.5, expected, atol=1e-3)
    coarse = data.open("train", GRID, 0, limit=4)
    assert len(coarse) == 4
    assert torch.allclose((coarse[range(4)] + 1) * 127.5, avg_pool2d(expected, 2)[:4], atol=0.51)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": np.zeros((3, 8, 8, 3), np.uint8)}, ("pictures", "images")),
        ({"images": np.zeros((3, 8, 8, 3), complex)}, ("images", "complex128", "(3, 8, 8, 3)", "real")),
        ({"images": np.zeros((3, 8, 8, 4), np.uint8)}, ("images", "(3, 8, 8, 4)", "(N, H, W)")),
        ({"images": 7.5 + np.arange(576.0).reshape(3, 8, 8, 3)}, ("float64", "data.range")),
        ({"images": np.zeros((3, 7, 8, 3), np.uint8)}, ("7x8", "8x8")),
        ({"images": np.array([{}], object)}, ()),
    ],
)
def test_an_npz_of_anything_else_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with raises(DataError, "a.npz", *said) as error:
        ImageFiles(root=str(tmp_path / "a.npz")).open("train", GRID, 0)
    assert "\n" not in str(error.value)


def test_places_without_pictures_are_data_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_bytes(b"no zip")
    (tmp_path / "no.npz").write_bytes(b"no npz")
    write(tmp_path / "one", {"1.png": encoded(picture(0))}, False)
    cases = {"empty": "empty", "no.zip": "no.zip", "no.npz": "no.npz", "gone": "gone", "one": 1}
    for name, said in cases.items():
        with raises(DataError, said):
            ImageFiles(root=str(tmp_path / name)).open("train", GRID, 0)
    assert not missing(ImageFiles(root=str(tmp_path / "gone")).missing(), tmp_path / "gone")


@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_a_test_set_is_used_as_it_is(tmp_path, kind):
    """All its images, whatever their folders and the seed; data.root is for training only, and not needed to test."""
    root = write(tmp_path / "own", {f"{i}.png": encoded(picture(i)) for i in range(6)}, False)
    contents = {
        f"{folder}/{i}.png": encoded(picture(i + k)) for folder, k in (("train", 10), ("test", 20)) for i in range(5)
    }
    expected, place = sorted(contents), str(tmp_path / "T.npz")
    if kind == "npz":
        np.savez(place, images=np.stack([picture(i) for i in range(30, 40)]))
        expected = [str(i) for i in range(10)]
    else:
        place = write(tmp_path / "T", contents, kind == "zip")
    data = ImageFiles(root=root, test_root=place)
    train, test = data.open("train", GRID, 0), data.open("test", GRID, 0)
    assert sorted(names(train)) == [f"{i}.png" for i in range(6)] and sorted(names(test)) == expected
    assert train.split_used == f"train: 6 of 6 images of own, test: all images of {Path(place).name}"
    assert test.split_used == f"test: all 10 images of {Path(place).name}"
    alone = ImageFiles(root=place, test_share=1)
    for other in (ImageFiles(root=str(tmp_path / "gone"), test_root=place), alone):
        assert names(other.open("test", GRID, 7)) == names(test)
    with raises(DataError, "data.test_share=1", "data.test_root"):
        alone.open("train", GRID, 0)
    other = {name: encoded(picture(i)) for i, name in enumerate(contents, 50)}
    split = ImageFiles(root=write(tmp_path / "both", other, False), test_root=place)
    assert sorted(names(split.open("train", GRID, 0))) == [f"train/{i}.png" for i in range(5)]
    assert not missing(ImageFiles(root=root, test_root=str(tmp_path / "gone")).missing(), tmp_path / "gone")


@pytest.mark.parametrize("as_zip", [True, False])
def test_images_of_other_formats_are_named(tmp_path, as_zip):
    contents = {f"{i}.png": encoded(picture(i)) for i in range(5)} | {"5.JFIF": encoded(picture(5), "JPEG")}
    contents |= {"b.heic": b"x", "sub/c.AVIF": b"x", "notes.txt": b"x", ".hidden.heic": b"x"}
    images = ImageFiles(root=write(tmp_path / "set", contents, as_zip), test_share=0.2).open("train", GRID, 0)
    (note,) = (note for note in images.notes if "not read" in note)
    assert not missing(note, "2 files", ".avif, .heic", "b.heic", ".png") and "txt" not in note
    assert "5.JFIF" in names(images) + names(
        ImageFiles(root=write(tmp_path / "again", contents, as_zip), test_share=1.0).open("test", GRID, 0)
    )


def test_a_folder_of_other_formats_only_is_told(tmp_path):
    with raises(DataError, "no image", "1 file of formats", "a.heic", "convert"):
        ImageFiles(root=write(tmp_path / "set", {"a.heic": b"x"}, False)).open("train", GRID, 0)
