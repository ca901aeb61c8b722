"""Images that are not independent are in one split, and count once in intervals."""

import numpy as np
import pytest
from pydantic import ValidationError
from support.image_files import encoded, names, picture, write
from support.messages import missing, raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.images import ImageFiles
from invkit.data.new_split import labels
from invkit.data.splits import split_names

GRID = Grid(8, 8)


def files(data, split):
    """The groups of a split, and its number of images."""
    images = data.open(split, GRID, 0)
    return set(names(images)), len(images)


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_on_one_side_and_of_one_group(tmp_path, seed):
    contents = {f"{i}.png": encoded(picture(i)) for i in range(8)}
    contents |= {f"{i} copy.png": data for i, data in enumerate(list(contents.values()))}
    contents |= {f"{i}.bmp": encoded(picture(i), "BMP") for i in range(3)}  # the same pixels in another file
    data = ImageFiles(root=write(tmp_path / "set", contents, False), test_share=0.5)
    train, test = data.open("train", GRID, seed), data.open("test", GRID, seed)
    assert len(train) + len(test) == 19 and min(len(train), len(test)) >= 8
    assert not set(names(train)) & set(names(test))  # groups
    assert len(set(names(train) + names(test))) == 8
    pixels = [{images[[i]].numpy().tobytes() for i in range(len(images))} for images in (train, test)]
    assert not pixels[0] & pixels[1] and len(pixels[0]) + len(pixels[1]) == 8
    assert not missing(train.notes[0], "copies of other images: 11", "copy.png", "in the same split")
    assert test.notes == train.notes


def test_without_copies_the_split_is_as_it_was(tmp_path):
    contents = {f"{i}.png": encoded(picture(i)) for i in range(30)}
    data = ImageFiles(root=write(tmp_path / "set", contents, True), test_share=0.3)
    expected = split_names(contents, 4, 0.3)
    assert names(data.open("test", GRID, 4)) == list(expected.test)
    assert names(data.open("train", GRID, 4)) == list(expected.train)


def test_copies_across_folders_are_left_out_of_the_training(tmp_path):
    contents = {f"train/{i}.png": encoded(picture(i)) for i in range(6)}
    contents |= {f"test/{i}.png": encoded(picture(i + 4)) for i in range(4)}
    data = ImageFiles(root=write(tmp_path / "set", contents, False))
    train, test = data.open("train", GRID, 0), data.open("test", GRID, 0)
    assert len(train) == 4 and len(test) == 4
    assert not missing(train.notes[0], "left out as identical to test images: 2")
    only = {f"train/{i}.png": encoded(picture(i + 4)) for i in range(2)} | {"test/4.png": encoded(picture(4))}
    only["test/5.png"] = encoded(picture(5))
    with raises(DataError, "all 2 training images", "identical to test images"):
        ImageFiles(root=write(tmp_path / "only", only, False)).open("train", GRID, 0)


def scene(i, shift=0.0):
    y, x = np.mgrid[:64, :64] / 64
    rng = np.random.default_rng(i)
    waves = sum(rng.normal() * np.cos(6 * (rng.normal() * x + rng.normal() * y + rng.random())) for _ in range(6))
    return (128 + 30 * waves[..., None].repeat(3, 2) + shift).clip(0, 255).astype(np.uint8)


def test_near_identical_images_are_said_and_others_are_not(tmp_path):
    contents = {f"train/{i}.png": encoded(scene(i)) for i in range(12)}
    contents |= {f"test/{i}.png": encoded(scene(i)) for i in range(100, 106)}
    contents |= {f"train/flat{i}.png": encoded(np.full((64, 64, 3), 90 + i, np.uint8)) for i in range(2)}
    contents |= {"test/flat.png": encoded(np.full((64, 64, 3), 95, np.uint8))}
    root = write(tmp_path / "set", contents, False)
    assert ImageFiles(root=root).open("test", GRID, 0).notes == ()
    contents |= {"test/7.jpg": encoded(scene(7), "JPEG", quality=60), "test/brighter.png": encoded(scene(8, 40))}
    images = ImageFiles(root=write(tmp_path / "set", contents, False)).open("train", GRID, 0)
    assert not missing(images.notes[0], "look like training images: 1", "test/7.jpg", "train/7.png")
    assert len(images) == 14  # said only


@pytest.mark.parametrize("as_zip", [False, True])
def test_groups_by_folder_prefix_and_table(tmp_path, as_zip):
    contents, lines = {}, ["image,slide,patient"]
    for i in range(24):
        name = f"{i // 8}/s{i // 4}_x{i}.png"
        contents[name] = encoded(picture(i))
        lines.append(f"s{i // 4}_x{i}.png, S{i // 4}, P{i % 6}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    root, table = write(tmp_path / "set", contents, as_zip), str(tmp_path / "t.csv")
    expected = {
        "folder": ({"0", "1", "2"}, 8), "prefix": ({f"{i // 2}/s{i}" for i in range(6)}, 4),
        "slide": ({f"S{i}" for i in range(6)}, 4), "patient": ({f"P{i}" for i in range(6)}, 4),
    }  # fmt: skip
    for group, (groups, size) in expected.items():
        own = {"group_file": table} if group in ("slide", "patient") else {}
        data = ImageFiles(root=root, test_share=0.4, group=group, **own)
        (train, n), (test, m) = files(data, "train"), files(data, "test")
        assert not train & test and train | test == groups
        assert (n, m) == (size * len(train), size * len(test)) and m == 8
        bound = data.with_split(data.record_split(0))
        assert files(bound, "test") == (test, m)
    one = ImageFiles(root=root, group="prefix", test_share=0.01)
    assert files(one, "test")[1] == 4  # a whole group, though 0.01 would be one image


def test_a_group_in_both_folders_is_said(tmp_path):
    contents = {
        f"{split}/p{p}_{i}.png": encoded(picture(9 * p + i))
        for split, p in (("train", 1), ("test", 2))
        for i in range(3)
    }
    contents |= {"train/p2_7.png": encoded(picture(50))}
    root = write(tmp_path / "set", contents, False)
    (tmp_path / "t.csv").write_text(
        "file,p\n" + "\n".join(f"{name.partition('/')[2]},{name.partition('/p')[2][0]}" for name in contents)
    )
    data = ImageFiles(root=root, group="p", group_file=str(tmp_path / "t.csv"))
    assert not missing(data.open("train", GRID, 0).notes[0], "a group that also has test images: 1")
    other = ImageFiles(root=root, test_root=root + "/test", group="p", group_file=str(tmp_path / "t.csv"))
    assert "a group that also has test images: 1" in " ".join(other.open("train", GRID, 0).notes)


def test_new_images_of_a_group_that_was_trained_on_are_no_test_images(tmp_path):
    contents = {f"p{p}_{i}.png": encoded(picture(9 * p + i)) for p in range(4) for i in range(3)}
    root = write(tmp_path / "set", contents, False)
    record = ImageFiles(root=root, test_share=0.3, group="prefix").record_split(0)
    tested = {group for _, group, *_ in record["test"]}
    assert len(tested) == 1
    new = {f"p{p}_new.png": encoded(picture(100 + p)) for p in range(5)}
    data = ImageFiles(root=root, test_root=write(tmp_path / "new", new, False), group="prefix")
    images = data.with_split(record, ["test_root"]).open("test", GRID, 0)
    assert set(names(images)) == tested | {"p4"} and not missing(images.notes[-1], "3 of 5", "groups")
    ungrouped = ImageFiles(root=root, test_root=str(tmp_path / "new")).with_split(record, ["test_root", "group"])
    assert len(ungrouped.open("test", GRID, 0)) == 5


def test_what_gives_no_groups_is_refused(tmp_path):
    root = write(tmp_path / "set", {f"p_{i}.png": encoded(picture(i)) for i in range(4)}, False)
    with raises(DataError, "one group", "p"):
        ImageFiles(root=root, group="prefix").open("train", GRID, 0)
    (tmp_path / "t.csv").write_text("file,slide\np_0.png,a\np_1,b\np_2,\n")
    with raises(DataError, "t.csv", "patient", "slide"):
        ImageFiles(root=root, group="patient", group_file=str(tmp_path / "t.csv")).open("train", GRID, 0)
    with raises(DataError, "t.csv", "no slide of p_2.png"):
        ImageFiles(root=root, group="slide", group_file=str(tmp_path / "t.csv")).open("train", GRID, 0)
    for settings in ({"group": "slide"}, {"group_file": "t.csv"}):
        with pytest.raises(ValidationError):
            ImageFiles(root=root, **settings)


def test_groups_that_share_an_image_are_one():
    class Facts:
        def __init__(self, digest):
            self.digest = digest

    facts = {name: Facts(digest) for name, digest in zip("abcdef", "xyxzyw", strict=True)}
    assert labels("abcdef", facts, {"a": "1", "b": "1", "d": "2", "f": "2"}) == {
        "a": "1", "b": "1", "c": "1", "d": "2", "e": "1", "f": "2",
    }  # fmt: skip
