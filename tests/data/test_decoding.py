import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from support.image_files import broken, encoded, picture

from invkit.core.grid import Grid
from invkit.data import decoding, resampling
from invkit.data.decoding import decode

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


def test_a_large_picture_is_averaged_in_two_steps_alike():
    smooth = np.add.outer(np.arange(403), np.arange(500)) / 903 * 255
    pixels = np.repeat(smooth[..., None], 3, 2).astype(np.uint8)
    box = (0, 48.5, 403, 451.5)
    expected = resampling.cell_averages(resampling.area_table(pixels), box, GRID)
    assert np.abs(decode(io.BytesIO(encoded(pixels)), GRID).astype(float) - expected).max() < 1.5


def test_only_formats_that_pillow_decodes_itself_are_opened():
    eps = broken()["other.jpg"]
    with Image.open(io.BytesIO(eps)) as opened:
        assert opened.format == "EPS"  # which Pillow hands to Ghostscript
    with pytest.raises(UnidentifiedImageError):
        decoding.check(io.BytesIO(eps), GRID)
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        decoding.check(io.BytesIO(encoded(picture(0), form)), GRID)
