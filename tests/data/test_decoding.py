import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from support.image_files import broken, encoded, picture

from invkit.core.grid import Grid
from invkit.data import decoding, resampling
from invkit.data.decoding import decode, read_image, read_mask

GRID = Grid(8, 8)


def test_pictures_are_turned_upright_made_rgb_and_centre_cropped():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn clockwise by a quarter
    pixels = picture(3, (8, 12))
    turned = decode(io.BytesIO(encoded(pixels, exif=exif)), Grid(12, 8))
    assert np.array_equal(turned, np.rot90(pixels, -1))
    grey = decode(io.BytesIO(encoded(pixels[..., 0])), Grid(8, 12))
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, 2))
    assert np.array_equal(decode(io.BytesIO(encoded(pixels)), GRID), pixels[:, 2:10])


@pytest.mark.parametrize(("shape", "grid"), [((403, 500), (8, 8)), ((1003, 701), (7, 5)), ((90, 330), (1, 3))])
def test_cells_of_many_pixels_are_exact_averages(shape, grid):
    pixels = picture(0, shape)
    pixels[:: max(shape[0] // 20, 1)] = 255
    grid = Grid(*grid)
    expected = resampling.cell_averages(resampling.area_table(pixels), resampling.centre_box(shape, grid), grid)
    assert np.abs(decode(io.BytesIO(encoded(pixels)), grid).astype(float) - expected).max() <= 0.5 + 1e-6


def test_a_mask_has_one_meaning_in_every_form(tmp_path):
    """White is the highest value of two, whatever the bits, the orientation and the channels."""
    expected = np.random.default_rng(0).random((50, 60)) < 0.3
    level = np.array([40, 65535], np.uint16)[expected.astype(int)]
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = {
        "bytes.png": expected * np.uint8(255), "bits.png": expected, "labels.png": expected * np.uint8(1),
        "deep.png": level, "deep.tif": level, "colour.png": np.repeat(expected[..., None] * np.uint8(255), 3, 2),
    }  # fmt: skip
    for name, pixels in forms.items():
        Image.fromarray(pixels).save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), expected), name
    Image.fromarray(np.rot90(expected * np.uint8(255))).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    assert (read_mask(tmp_path / "turned.jpg") == expected).mean() > 0.99
    share = resampling.cell_averages(
        resampling.area_table(expected[..., None].astype(np.uint8)), (0, 5, 50, 55), Grid(32, 32)
    )
    for name in forms:  # the centre, by areas
        assert np.array_equal(read_mask(tmp_path / name, Grid(32, 32)), share[..., 0] >= 0.5), name
    grey = np.full((4, 4), 127, np.uint8)
    grey[0], grey[1] = 128, 250
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png").sum(1).tolist() == [4, 4, 0, 0]
    for value, white in ((0, 0), (1, 16), (255, 16)):
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / "one.png")
        assert read_mask(tmp_path / "one.png").sum() == white


def test_pixel_values_are_those_of_the_file(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (6, 8), np.uint16)
    for pixels, values in ((picture(1), picture(1)), (deep, deep[..., None])):
        Image.fromarray(pixels).save(tmp_path / "x.png")
        assert np.array_equal(read_image(tmp_path / "x.png"), values)
    assert np.allclose(read_image(tmp_path / "x.png", Grid(3, 4, 1))[0, 0], deep[:2, :2].mean())


def test_only_formats_that_pillow_decodes_itself_are_opened():
    eps = broken()["other.jpg"]
    with Image.open(io.BytesIO(eps)) as opened:
        assert opened.format == "EPS"  # which Pillow hands to Ghostscript
    with pytest.raises(UnidentifiedImageError):
        decoding.check(io.BytesIO(eps), GRID)
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        decoding.check(io.BytesIO(encoded(picture(0), form)), GRID)
