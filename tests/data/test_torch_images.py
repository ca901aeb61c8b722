"""A torch data set becomes a zip of its images, without loss."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import picture
from support.messages import raises
from torch.utils.data import TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import Compose, Normalize, ToTensor

import invkit
from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data.images import ImageFiles


def read(path, grid, split="test", **settings):
    images = ImageFiles(root=str(path), **settings).open(split, grid, 0)
    return {images.group(i): images[[i]][0] for i in range(len(images))}


@pytest.mark.parametrize("transform", [None, ToTensor()])
def test_images_of_torchvision_are_the_same_pixels(tmp_path, transform):
    train = FakeData(6, (3, 12, 15), transform=transform)
    test = FakeData(4, (3, 12, 15), random_offset=100)
    path = invkit.write_images(tmp_path / "new" / "set.zip", train, test)
    for folder, dataset in (("train", FakeData(6, (3, 12, 15))), ("test", test)):
        found = read(path, Grid(12, 15), folder)
        assert sorted(found) == [f"{folder}/{i:06d}.png" for i in range(len(dataset))]
        for i, image in enumerate(found[name] for name in sorted(found)):
            expected = torch.from_numpy(np.array(dataset[i][0])).permute(2, 0, 1) / 127.5 - 1
            torch.testing.assert_close(image, expected)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (torch.arange(0, 240, dtype=torch.uint8).view(2, 1, 10, 12), 1),
        (torch.arange(0, 240, dtype=torch.uint8).view(2, 10, 12) / 255, 1),
        (torch.rand(2, 1, 10, 12, generator=torch.Generator().manual_seed(0)), 1),
        (torch.rand(2, 3, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 3),
    ],
)
def test_tensors_keep_their_values_and_grey_stays_grey(tmp_path, values, kept):
    path = invkit.write_images(tmp_path / "set.zip", TensorDataset(values, torch.arange(2)))
    data = ImageFiles(root=str(path), test_share=1.0)
    assert data.channels == kept
    found = read(path, Grid(10, 12, kept), test_share=1.0)
    white = 255 if values.dtype == torch.uint8 else 1
    for i, name in enumerate(sorted(found)):
        torch.testing.assert_close(
            found[name], (values[i].view(kept, 10, 12) / white * 2 - 1).float(), atol=1e-6, rtol=0
        )


def test_any_item_that_begins_with_an_image_is_taken_and_the_zip_is_reproducible(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (9, 9), np.uint16)
    colour = Image.fromarray(picture(0, (9, 9)))
    items = [Image.fromarray(deep), [colour], {"image": picture(1, (9, 9)), "label": 3}, (deep > 9,)]
    paths = [invkit.write_images(str(tmp_path / name), items) for name in ("a.zip", "b.zip")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = read(paths[0], Grid(9, 9, 1), test_share=1.0)
    np.testing.assert_allclose(found["000000.png"][0], deep / 32767.5 - 1, atol=1e-6)
    assert len(found) == 4 and ImageFiles(root=str(paths[0])).channels == 3


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Compose([ToTensor(), Normalize(0.5, 0.5)])(Image.fromarray(picture(0))), ("[0, 1]", "Normalize")),
        (torch.zeros(4, 8, 8), ("(8, 8, 4)", "1 or 3 channels")),
        (torch.zeros(1, 8, 8, dtype=torch.int64), ("int64",)),
        (torch.full((1, 8, 8), torch.nan), ("nan",)),
        ("a.png", ("str",)),
        ((), ("tuple",)),
    ],
)
def test_other_items_are_refused_by_number(tmp_path, item, said):
    with raises(DataError, "item 1", *said):
        invkit.write_images(tmp_path / "set.zip", [torch.zeros(1, 8, 8), item])
    assert not list(tmp_path.iterdir())
    with raises(DataError, "set.npz", ".zip"):
        invkit.write_images(tmp_path / "set.npz", [])
