"""A data set that is bound to the split of a run: by content, whatever the names of the files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.image_files import encoded, names, picture, write
from support.messages import missing, raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import catalogue
from invkit.data.images import ImageFiles

GRID = Grid(8, 8)


def contents(data, split):
    """The images of a split, by their pixels."""
    opened = data.open(split, GRID, 0)
    return {opened[[i]].numpy().tobytes() for i in range(len(opened))}


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "pics", {f"{i}.png": encoded(picture(i)) for i in range(20)}, False)


@pytest.fixture(params=["pixels", "bytes"])
def bound(root, request, monkeypatch):
    """A data set of 20 images with its recorded split; of large ones only parts of the files are hashed."""
    monkeypatch.setattr(catalogue, "LARGE", 10 if request.param == "bytes" else 1 << 30)
    data = ImageFiles(root=root, test_share=0.3)
    record = data.record_split(0)
    assert record["kind"] == request.param
    return data.with_split(record)


def test_the_recorded_split_is_the_new_one_as_long_as_nothing_changes(root, bound):
    fresh = ImageFiles(root=root, test_share=0.3)
    assert fresh == bound
    for split in ("train", "test"):
        before, after = fresh.open(split, GRID, 0), bound.open(split, GRID, 5)  # the seed is that of the record
        assert names(before) == names(after) and before.notes == after.notes == ()
    assert bound.changed() is None


def test_moved_files_keep_their_split(root, bound, tmp_path):
    expected = {split: contents(bound, split) for split in ("train", "test")}
    digest, order = bound.test_digest(0), names(bound.open("test", GRID, 0))
    shutil.move(root, tmp_path / "all")
    shutil.copytree(tmp_path / "all", tmp_path / "pics" / "all")
    for i in range(20):  # every content under another name
        (tmp_path / "pics" / "all" / f"{i}.png").rename(tmp_path / "pics" / "all" / f"{(i + 7) % 20}.new.png")
    assert {split: contents(bound, split) for split in expected} == expected
    opened = bound.open("test", GRID, 0)
    assert names(opened) == order and bound.test_digest(0) == digest and bound.changed() is None
    assert not missing(opened.notes[0], "other names", 6)


def test_missing_and_new_images_move_nothing_across(root, bound, tmp_path):
    train, test = contents(bound, "train"), contents(bound, "test")
    digest, gone = bound.test_digest(0), names(bound.open("test", GRID, 0))[2]
    (tmp_path / "pics" / gone).unlink()
    for i in range(3):
        (tmp_path / "pics" / f"new{i}.png").write_bytes(encoded(picture(100 + i)))
    opened = bound.open("test", GRID, 0)
    assert contents(bound, "train") == train and contents(bound, "test") < test and len(opened) == 5
    assert not missing(" ".join(opened.notes), "1 of 6 test", gone, "gone", "not used", 3)
    assert bound.changed() is None and bound.test_digest(0) != digest
    lost = names(bound.open("train", GRID, 0))[0]
    (tmp_path / "pics" / lost).write_bytes(encoded(picture(999)))
    assert not missing(bound.changed(), "1 of 14 training", lost, "--fresh")
    assert contents(bound, "train") < train
    shutil.rmtree(root)
    write(tmp_path / "pics", {"x.png": encoded(picture(50))}, False)
    with raises(DataError, "no test image of this run"):
        bound.open("test", GRID, 0)


def test_images_that_the_run_was_trained_on_are_never_its_test_images(root, bound, tmp_path):
    train, test, record = contents(bound, "train"), contents(bound, "test"), bound.record_split(0)
    mixed = {f"{i}.png": encoded(picture(i)) for i in range(20)} | {
        f"{i}.new.png": encoded(picture(i)) for i in (40, 41)
    }
    other = write(tmp_path / "other", mixed, True)
    for changes in ({"test_root": other}, {"test_root": root}, {"test_share": 1.0}, {"test_share": 0.9}):
        data = ImageFiles(**{"root": root, "test_share": 0.3} | changes).with_split(record, list(changes))
        found = contents(data, "test")
        assert found and not found & train
        if changes != {"test_share": 0.9}:
            assert found >= test and len(found) == (8 if other in changes.values() else 6)
            assert "the run was trained on them" in data.open("test", GRID, 0).notes[-1]
    used = {name: (tmp_path / "pics" / name).read_bytes() for name in names(bound.open("train", GRID, 0))}
    trained = write(tmp_path / "trained", used, False)
    with raises(DataError, "trained on all 14"):
        ImageFiles(root=root, test_root=trained).with_split(record, ["test_root"]).open("test", GRID, 0)


def test_a_data_set_that_was_copied_elsewhere_keeps_its_split(root, bound, tmp_path):
    record = bound.record_split(0)
    shutil.copytree(root, tmp_path / "copy" / "deep")
    data = ImageFiles(root=str(tmp_path / "copy"), test_share=0.3)
    assert contents(data.with_split(record, ["root"]), "test") == contents(bound, "test")
    (tmp_path / "copy" / "deep" / names(bound.open("test", GRID, 0))[0]).unlink()  # another data set, perhaps
    found = contents(data.with_split(record, ["root"]), "test")
    assert found and not found & contents(bound, "train")


def test_unchanged_files_are_not_read_again(root, bound, monkeypatch):
    catalogue._KNOWN.clear()
    read = []
    for name in ("facts_of", "_digest_of_parts"):
        real = getattr(catalogue, name)
        monkeypatch.setattr(catalogue, name, lambda *a, real=real: read.append(1) or real(*a))
    digest = bound.test_digest(0)
    assert not read
    for i in range(20):  # the same content, at another time
        path = Path(root) / f"{i}.png"
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    assert bound.test_digest(0) == digest and len(read) == 20


@pytest.mark.parametrize("kind", ["zip", "npz"])
def test_other_kinds_of_sources_are_recorded_too(tmp_path, kind):
    path = tmp_path / f"a.{kind}"

    def store(order):
        if kind == "npz":
            np.savez(path, images=np.stack([picture(i) for i in order]))
        else:
            write(tmp_path / "a", {f"{at}.png": encoded(picture(i)) for at, i in enumerate(order)}, True)

    store(range(10))
    data = ImageFiles(root=str(path), test_share=0.3)
    bound = data.with_split(data.record_split(0))
    expected = {split: contents(bound, split) for split in ("train", "test")}
    store(reversed(range(10)))
    assert {split: contents(bound, split) for split in expected} == expected
    store(range(1, 11))
    assert contents(bound, "train") <= expected["train"] and contents(bound, "test") <= expected["test"]


def test_a_run_without_a_record_is_split_by_names_and_it_is_said(root, bound):
    old = ImageFiles(root=root, test_share=0.3).with_split(None)
    assert names(old.open("test", GRID, 0)) == names(bound.open("test", GRID, 0))
    assert not missing(old.open("test", GRID, 0).notes[0], "did not record its split", "trained on")
    assert old.test_digest(0) is None and old.changed() is None


@pytest.mark.parametrize("record", [{}, [], {"train": 3, "test": []}, {"train": [["a"]], "test": [], "kind": "x"}])
def test_a_damaged_record_is_one_line(root, record):
    with raises(DataError, "recorded split is damaged"):
        ImageFiles(root=root).with_split(record)
