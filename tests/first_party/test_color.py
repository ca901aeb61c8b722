import numpy as np
import pytest
import torch
from invkit_color import Bayer, Grey
from invkit_denoise import Denoise
from PIL import Image
from pydantic import ValidationError
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.measurement import Noise, measure


def draw(degradation, grid=None):
    return degradation.sample(Keys.of(0, "op", range(4)), grid or Grid(6, 9))


def test_grey_is_the_luma_of_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    grey = draw(Grey()).forward(torch.from_numpy(pixels).permute(2, 0, 1)[None].double().expand(4, -1, -1, -1))
    assert grey.shape == (4, 1, 6, 9)
    luma = np.asarray(Image.fromarray(pixels).convert("L"), float)
    assert np.abs(grey[0, 0].numpy() - luma).max() <= 1


def test_the_pseudo_inverse_of_grey_divides_by_the_weights():
    y = torch.randn(4, 1, 6, 9, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    expected = weights.view(3, 1, 1) * y / weights.square().sum()
    torch.testing.assert_close(draw(Grey(weights=(0.5, 0.0, 2.0))).pinv(y), expected)


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_a_mosaic_sees_the_colours_of_its_pattern(pattern):
    observed = draw(Bayer(pattern=pattern)).observed
    for r in range(6):
        for c in range(9):
            assert observed[0, :, r, c].tolist() == [letter == pattern[2 * (r % 2) + c % 2] for letter in "RGB"]


def test_colours_are_needed():
    for degradation in (Grey(), Bayer()):
        with raises(ValueError, 1):
            draw(degradation, Grid(8, 8, 1))
    with raises(ValidationError, "weights"):
        Grey(weights=(0.0, 0.0, 0.0))


def test_denoising_measures_the_picture_and_its_noise():
    grid = Grid(32, 32)
    keys, x = Keys.of(0, "op", range(4)), torch.randn(4, *grid.picture)
    m = measure(Denoise().sample(keys, grid), x, Noise(sigma=0.1), keys)
    assert float((m.y - x).std()) == pytest.approx(0.1, rel=0.03)
    assert torch.equal(m.operator.pinv(m.y), m.y) and m.observed is None
