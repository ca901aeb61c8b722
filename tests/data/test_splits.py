import pytest
from support.image_files import encoded, picture, write
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.images import ImageFiles
from invkit.data.splits import split_names


def choose(names, split, *args):
    return split_names(names, *args).names(split)


def test_the_keyed_split_is_exact_shuffled_and_blind_to_content():
    everything = [f"{c}/{i}" for c in "ab" for i in range(50)]
    test = choose(everything, "test", 0, 0.13)
    assert len(test) == 13 and sorted(test + choose(everything, "train", 0, 0.13)) == sorted(everything)
    assert test == choose(reversed(everything), "test", 0, 0.13) != choose(everything, "test", 1, 0.13)
    assert 10 < sum(name < "b" for name in choose(everything, "train", 0, 0.13)[:40]) < 30  # not class after class
    assert len(choose(["x", "y"], "test", 0, 0.01)) == len(choose(["x", "y"], "train", 0, 0.99)) == 1
    assert "train: 87, test: 13" in split_names(everything, 0, 0.13).description


PAIRS = [
    ("train", "test"), ("train", "valid"), ("Train", "Test"), ("TRAIN", "VAL"), ("training", "validation"),
    ("trainset", "testset"), ("train", "dev"), ("trainval", "test"), ("training_set", "test_set"),
    ("HR_train", "HR_valid"), ("HRtrain", "HRvalid"), ("DIV2K_train_HR", "DIV2K_valid_HR"), ("trainA", "testA"),
    ("train2017", "val2014"), ("my-train", "my-test"), ("imagesTrain", "imagesVal"), ("train_images", "test"),
    ("images/train", "images/val"), ("train/images", "valid/images"), ("BSD/images/train", "BSD/images/test"),
    ("training_data/train", "training_data/test"), ("images/train", "test"),
]  # fmt: skip


@pytest.mark.parametrize("below", ["", "class1/"])
@pytest.mark.parametrize("prefix", ["", "set/", "ILSVRC/Data/CLS-LOC/"])
@pytest.mark.parametrize(("train", "test"), PAIRS)
def test_folders_with_common_names_are_the_split(train, test, prefix, below):
    names = [f"{prefix}{folder}/{below}{i}.png" for folder in (train, test) for i in range(6)]
    both = split_names(names, 0, 0.5, root="d")
    assert sorted(both.train) == sorted(names[:6]) and sorted(both.test) == sorted(names[6:])
    assert both.test == split_names(names, 1, 0.5).test  # the same for every seed
    shown = [folder.removesuffix("/images") for folder in (train, test)]  # the outer folder is enough
    assert both.description == f"train: d/{prefix}{shown[0]} (6), test: d/{prefix}{shown[1]} (6)"


@pytest.mark.parametrize(
    "folders", [("strain", "contest"), ("Strain", "latest"), ("device", "valley"), ("train", "cat")]
)
def test_other_names_are_no_split(folders):
    names = [f"{folder}/{i}.png" for folder in folders for i in range(6)]
    assert len(choose(names, "test", 0, 0.5)) == 6 and "chosen by the seed" in split_names(names, 0, 0.5).description


def test_classes_called_like_a_split_are_classes():
    names = [f"{split}/{c}/1.png" for split in ("train", "val") for c in ("test tube", "cat")]
    assert sorted(choose(names, "test", 0, 0.5)) == sorted(names[2:])


def test_of_three_folders_test_is_used_unless_another_is_named():
    everything = [f"{split}/n{i % 3:04d}/{i}.JPEG" for split in ("train", "val", "test") for i in range(6)]
    both = split_names(everything, 0, 0.5)
    assert {name[:4] for name in both.test} == {"test"} and both.description.endswith("not used: 6 other images")
    assert {name[:4] for name in choose(everything, "test", 0, 0.5, "val")} == {"val/"}
    assert choose(everything, "train", 0, 0.5, "val") == choose(everything[:12], "train", 0, 0.5)
    with raises(DataError, "train", "dev", "data.test_folder"):
        choose(everything, "test", 0, 0.5, "dev")
    alone = [name for name in everything if name.startswith("train/")]
    assert len(choose(alone, "test", 0, 0.5)) == 3  # there is nothing else to test on


@pytest.mark.parametrize(
    ("folders", "way"),
    [
        (("", "train", "test"), "test"),
        (("more", "train", "valid"), "valid"),
        (("images/train", "images/val", "masks/train", "masks/val"), "images/val"),
        (("HR_train", "HR_valid", "LR_train", "LR_valid"), "HR_valid"),
        (("trainA", "trainB", "testA", "testB"), "testA"),
        (("train", "val", "validation"), "val"),
    ],
)
def test_an_ambiguous_split_is_refused_and_the_setting_in_the_message_resolves_it(folders, way):
    names = [f"{folder}/{i}.png".lstrip("/") for folder in folders for i in range(6)]
    with raises(DataError, f"data.test_folder={way}", "move"):
        split_names(names, 0, 0.5, root="d")
    both = split_names(names, 0, 0.5, way, "d")
    assert {name.rpartition("/")[0] for name in both.test} == {way}
    assert len(both.train) == 6 and all("train" in name for name in both.train)
    assert way.replace("valid", "train").replace("val", "train").replace("test", "train") in both.train[0]


def test_two_training_folders_are_refused():
    names = [f"{folder}/{i}.png" for folder in ("Train", "train", "test") for i in range(3)]
    for test_folder in (None, "test"):
        with raises(DataError, "Train", "train", "move"):
            split_names(names, 0, 0.5, test_folder)


@pytest.mark.parametrize("as_zip", [True, False])
def test_files_in_folders_and_zips_are_split_alike(tmp_path, as_zip):
    contents = {
        f"{split}/{i}.png": encoded(picture(i + 3 * (split == "HR_valid")))
        for split in ("HR_train", "HR_valid")
        for i in range(3)
    }
    data = ImageFiles(root=write(tmp_path / "d", contents, as_zip))
    root = "d.zip" if as_zip else "d"
    for split, folder in (("train", "HR_train"), ("test", "HR_valid")):
        images = data.open(split, Grid(8, 8), 0)
        assert sorted(images.group(i) for i in range(len(images))) == [f"{folder}/{i}.png" for i in range(3)]
        assert images.split_used == f"train: {root}/HR_train (3), test: {root}/HR_valid (3)"
