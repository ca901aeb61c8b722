import os

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.experiment.inference.image_files import find_inputs, image_grid, read_image, read_mask


@pytest.fixture
def picture(tmp_path):
    """Saves pixels (H, W, 3) or (H, W), or random ones of a size, and returns the path."""

    def picture(name, pixels=(7, 9), **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(pixels, tuple):
            pixels = np.random.default_rng(0).integers(0, 256, (*pixels, 3), np.uint8)
        Image.fromarray(pixels).save(path, **options)
        return path

    return picture


def test_files_and_folders_have_names_of_their_own(picture, tmp_path):
    first, second = picture("a/x.png"), picture("b/X.bmp")
    for name in ("c/sub/y.png", "c/z.jpg", "c/.hidden.png"):
        picture(name)
    (tmp_path / "c" / "notes.txt").write_text("no picture")
    points = tmp_path / "x.csv"
    points.write_text("x,y,grey\n")
    found = find_inputs([first, second, tmp_path / "c", points])
    assert [s.name for s in found] == ["x", "X-2", "sub-y", "z", "x-3"]
    assert [s.holds_numbers for s in found] == [False] * 4 + [True]
    assert found[2].path == tmp_path / "c" / "sub" / "y.png"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "con:1", "... ", "n" * 200, "é"])
def test_any_name_becomes_one_that_can_be_written_and_shown(picture, name):
    try:
        found = find_inputs([picture(f"{name}.png")])[0]
    except OSError:
        pytest.skip("no name for this file system")
    assert found.name and found.name.isprintable() and len(found.name) <= 100 and ":" not in found.name
    assert str(found).isprintable()


def test_pixels_are_read_as_they_are(picture):
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
    path = picture("x.png", pixels)
    assert image_grid(path, 3) == Grid(7, 9, 3)
    x = read_image(path, Grid(7, 9))
    torch.testing.assert_close(x[0], torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
    small = read_image(path, Grid(3, 3))  # a centred square, averaged
    torch.testing.assert_close(small.mean(), x[..., 1:8].mean(), atol=0.01, rtol=0)


def test_a_turned_picture_is_upright(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture("x.jpg", (8, 16), exif=exif)
    assert image_grid(path, 3).shape == (16, 8)
    assert read_image(path, Grid(16, 8)).shape == (1, 3, 16, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_the_same_picture_as_a_turned_png(picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    paths = [picture("x.png", (16, 21), exif=exif), picture("x.tif", (16, 21), exif=exif)]
    grids = [image_grid(path, 3) for path in paths]
    assert grids == [Grid(*((21, 16) if orientation >= 5 else (16, 21)))] * 2
    for grid in (grids[0], Grid(5, 7)):
        png, tiff = (read_image(path, grid) for path in paths)
        assert torch.equal(png, tiff)


def test_16_bits_have_their_own_white(picture):
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 8), np.uint16)
    for name in ("x.png", "x.tif"):
        x = read_image(picture(name, pixels), Grid(6, 8))
        assert float((x[0] - torch.from_numpy(pixels / 32767.5 - 1)).abs().max()) <= 1.01 / 255


def test_one_channel_is_grey(picture):
    x = read_image(picture("x.png", np.full((4, 5, 3), (255, 0, 0), np.uint8)), Grid(4, 5, 1))
    assert x.shape == (1, 1, 4, 5)
    assert float(x[0, 0, 0, 0]) == pytest.approx(76 / 127.5 - 1)  # Rec. 601: 0.299 of red
    with raises(DataError, "x.png", 3, 1, 2):
        read_image(picture("x.png"), Grid(4, 5, 2))


def test_masks(picture):
    pixels = np.zeros((5, 6), np.uint8)
    pixels[1, 2], pixels[3, 3], pixels[4, 4] = 255, 200, 100
    observed = read_mask(picture("m.png", pixels))
    assert observed.shape == (1, 1, 5, 6) and observed.dtype == torch.bool
    assert observed.nonzero()[:, 2:].tolist() == [[1, 2], [3, 3]]
    with raises(DataError, "k.png"):
        read_mask(picture("k.png", pixels * 0))
    with raises(DataError, "n.png"):
        read_mask(picture("m.png").parent / "n.png")


def test_what_cannot_be_read_is_one_line(picture, tmp_path):
    def refused(name, *said, work=lambda path: image_grid(path, 3)):
        with raises(DataError, name, *said) as caught:
            work(tmp_path / name)
        assert "\n" not in str(caught.value)

    def found(path):
        find_inputs([path])

    refused("gone.png", work=found)
    refused("a.txt", work=lambda p: (p.write_text(""), found(p)))
    refused("empty", work=lambda p: (p.mkdir(), found(p)))
    os.mkfifo(tmp_path / "pipe.png")
    refused("pipe.png", work=found)
    refused("pipe.png")
    (tmp_path / "text.png").write_text("no picture")
    refused("text.png")
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refused("eps.png")
    picture("float.tif", np.full((4, 4), 7.5, np.float32))
    refused("float.tif", "7.5", "data.range", work=lambda p: read_image(p, Grid(4, 4)))
    cut = picture("cut.png", (64, 64))
    cut.write_bytes(cut.read_bytes()[:900])
    refused("cut.png", work=lambda p: read_image(p, Grid(64, 64)))
    picture("low.png", (64, 64))
    refused("low.png", "64x64", "65x64", work=lambda p: read_image(p, Grid(65, 64)))


def test_no_two_inputs_write_the_same_file_and_no_name_is_too_long(picture):
    accents = ("e\u0301.png", "\u00e9.jpg")  # two forms of one letter
    names = ["x.png", "x.npz.png", "x.csv.png", "reconstruct.json.png", *accents, "\N{GRINNING FACE}" * 60 + ".png"]
    found = [file.name for file in find_inputs([picture(name) for name in names])]
    assert found[:6] == ["x", "x.npz-2", "x.csv-2", "reconstruct.json-2", "e\u0301", "\u00e9-2"]
    assert found[6] == "\N{GRINNING FACE}" * 37 and len(f".{found[6]}.npz.4194304".encode()) < 255
