import pytest
from support.messages import raises

from invkit.core.errors import DataError
from invkit.data.listing import choose


def test_the_keyed_split_is_exact_shuffled_and_blind_to_content():
    everything = [f"{c}/{i}" for c in "ab" for i in range(50)]
    test = choose(everything, "test", 0, 0.13)
    assert len(test) == 13 and sorted(test + choose(everything, "train", 0, 0.13)) == sorted(everything)
    assert test == choose(reversed(everything), "test", 0, 0.13) != choose(everything, "test", 1, 0.13)
    assert 10 < sum(name < "b" for name in choose(everything, "train", 0, 0.13)[:40]) < 30  # not class after class
    assert len(choose(["x", "y"], "test", 0, 0.01)) == len(choose(["x", "y"], "train", 0, 0.99)) == 1


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_train_and_test_folders_are_the_split(prefix):
    everything = [f"{prefix}{split}/{i}.png" for split in ("train", "test") for i in range(6)] + [f"{prefix}z/1.png"]
    for split in ("train", "test"):
        chosen = choose(everything, split, 0, 0.5)
        assert sorted(chosen) == [f"{prefix}{split}/{i}.png" for i in range(6)]
    assert choose(everything, "test", 0, 0.5) == choose(everything, "test", 1, 0.5)


def test_the_layout_of_imagenet_is_a_split():
    """Class folders below train and val, whatever lies around them; a folder may be named."""
    everything = [f"{split}/n{i % 3:04d}/{i}.JPEG" for split in ("train", "val", "test") for i in range(6)]
    two = [name for name in everything if not name.startswith("test/")]
    for prefix in ("", "ILSVRC/Data/CLS-LOC/"):
        names = [prefix + name for name in two]
        for split, own in (("train", names[:6]), ("test", names[6:])):
            assert sorted(choose(names, split, 0, 0.5)) == sorted(own)
    assert {name[:4] for name in choose(everything, "test", 0, 0.5)} == {"test"}
    assert {name[:4] for name in choose(everything, "test", 0, 0.5, "val")} == {"val/"}
    assert choose(everything, "train", 0, 0.5, "val") == choose(two, "train", 0, 0.5)
    with raises(DataError, "train", "dev", "data.test_folder"):
        choose(everything, "test", 0, 0.5, "dev")
    alone = [name for name in everything if name.startswith("train/")]
    assert len(choose(alone, "test", 0, 0.5)) == 3  # there is nothing else to test on
