import io

import numpy as np
import pytest
import torch
from PIL import Image

from invkit.core.keys import Keys
from invkit.evaluation.report.images import (
    CELL,
    GAP,
    HEADER,
    LARGEST,
    deviation_png,
    image_png,
    measured_png,
    sample_sheet,
)
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

SIDE, COUNT = 8, 2
COLUMNS = ("measurement", "fill", "mean", "sample 1", "sample 2", "deviation", "truth")


def measured(share: float = 0.5, channels: int = 3, sigma: float = 0.0) -> tuple[torch.Tensor, Measurement]:
    keys = Keys.of(0, "pictures", range(COUNT))
    truth = keys.uniform("truth", channels, SIDE, SIDE) * 2 - 1
    mask = Mask(keys.uniform("mask", 1, SIDE, SIDE) < share, channels)
    return truth, Measurement(mask, mask.forward(truth), sigma)


def flat(value: float, channels: int = 3) -> torch.Tensor:
    return torch.full((COUNT, channels, SIDE, SIDE), value)


def cells(png: bytes, columns: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """The middle of every pixel of every cell: (columns, rows, height, width, 3)."""
    sheet = np.asarray(Image.open(io.BytesIO(png)))
    factor = CELL // max(height, width)
    step = max(width * factor, 112) + GAP
    assert sheet.shape[1] == columns * step + GAP
    out = np.empty((columns, COUNT, height, width, 3), np.uint8)
    for c in range(columns):
        for r in range(COUNT):
            top, left = HEADER + r * (height * factor + GAP), GAP + c * step
            out[c, r] = sheet[top : top + height * factor, left : left + width * factor][
                factor // 2 :: factor, factor // 2 :: factor
            ]
    return out


def grey(value: float) -> int:
    return round((value + 1) * 127.5)


def test_two_channels_are_real_and_imaginary_part():
    x = torch.tensor([[[0.6, 0.0]], [[-0.8, 0.5]]])
    assert np.asarray(Image.open(io.BytesIO(image_png(x)))).tolist() == [[255, 128]]


def test_every_column_shows_what_it_was_given():
    truth, measurement = measured()
    samples = torch.stack([flat(0.5), flat(-0.5), flat(0.0)])
    found = cells(sample_sheet(truth, measurement, flat(-1.0), flat(0.25), samples), len(COLUMNS))
    hidden = ~measurement.observed[:, 0].numpy()
    for name, value in (("fill", -1.0), ("mean", 0.25), ("sample 1", 0.5), ("sample 2", -0.5)):
        column = found[COLUMNS.index(name)]
        assert (column[hidden] == grey(value)).all(), name
        assert (column[~hidden] == found[-1][~hidden]).all(), name  # pasted: what was seen exactly
    expected = ((truth + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found[-1], expected)


def test_hidden_is_told_apart_from_black():
    truth, measurement = measured()
    black = Measurement(measurement.operator, torch.full_like(truth, -1) * measurement.observed)
    found = cells(sample_sheet(truth, black, None, None, None), 2)[0]
    seen = measurement.observed[:, 0].numpy()
    assert (found[seen] == 0).all()
    assert (found[~seen] > 200).all()


def test_noisy_measurements_are_not_pasted():
    truth, measurement = measured(sigma=0.1)
    found = cells(sample_sheet(truth, measurement, None, flat(0.25), None), 3)
    assert (found[1] == grey(0.25)).all()


def test_columns_that_are_not_given_are_left_out():
    truth, measurement = measured()
    cells(sample_sheet(truth, measurement, None, None, None), 2)
    cells(sample_sheet(truth, measurement, None, flat(0.0), flat(0.0)[None]), 4)  # one sample has no deviation
    cells(sample_sheet(truth, measurement, flat(0.0), None, torch.stack([flat(0.0)] * 5)), 6)


def test_the_deviation_is_that_of_the_samples_and_zero_where_seen():
    truth, measurement = measured()
    ramp = torch.linspace(0, 1, SIDE).expand(COUNT, 3, SIDE, SIDE)
    samples = torch.stack([ramp, -ramp])
    found = cells(sample_sheet(truth, measurement, None, None, samples), 5)[3].astype(int).sum(-1)
    hidden = ~measurement.observed[:, 0].numpy()
    assert (found[~hidden] == found.min()).all()
    for row, where in zip(found.reshape(-1, SIDE), hidden.reshape(-1, SIDE), strict=True):
        assert (np.diff(row[where]) > 0).all()  # brighter to the right


def test_a_field_in_a_unit_has_colour_bars():
    """A grey bar above measurement, mean and samples of one channel; above the standard deviation one of its own colours."""
    _, measurement = measured(channels=1)
    samples = torch.stack([flat(0.2, 1), flat(-0.2, 1)])

    def bars(m, x, **span):
        sheet = np.asarray(Image.open(io.BytesIO(sample_sheet(None, m, None, x[0], x, **span))))
        step = CELL + GAP
        return [sheet[28:36, GAP + c * step : GAP + c * step + 40].astype(int) for c in range(5)]

    ramp = (255 * np.linspace(0, 1, 40)).astype(np.uint8)
    *images, std = bars(measurement, samples, span=(10.0, 30.0))
    for bar in images:
        np.testing.assert_array_equal(bar, np.broadcast_to(ramp[None, :, None], (8, 40, 3)))
    assert std[0, 20].std() > 30 and bars(measurement, samples)[0].min() == 255
    colour = flat(0.0).expand(2, -1, -1, -1, -1)
    assert bars(measured()[1], colour, span=(10.0, 30.0))[0].min() == 255


def test_given_deviation_wins():
    truth, measurement = measured()
    samples = torch.stack([flat(0.2), flat(-0.2)])
    own, same, other = (
        sample_sheet(truth, measurement, None, None, samples, deviation)
        for deviation in (None, samples.std(0), 2 * samples.std(0))
    )
    assert own == same != other  # the scale is written


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_can_be_shown(channels):
    truth, measurement = measured(channels=channels)
    found = cells(sample_sheet(truth, measurement, flat(0.0, channels), None, None), 3)
    if channels != 3:
        assert (found[2][..., 0] == found[2][..., 1]).all()


def test_a_large_grid_is_not_enlarged():
    mask = Mask(torch.ones(COUNT, 1, 160, 200, dtype=torch.bool))
    x = torch.zeros(COUNT, 3, 160, 200)
    sheet = Image.open(io.BytesIO(sample_sheet(x, Measurement(mask, x), None, None, None)))
    assert sheet.size == (2 * (200 + GAP) + GAP, HEADER + COUNT * (160 + GAP))


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_picture_alone_has_its_own_pixels(channels, mode):
    x = torch.linspace(-1.2, 1.2, channels * 20).view(channels, 4, 5)
    found = opened(image_png(x))
    assert (found.mode, found.size) == (mode, (5, 4))
    want = ((x.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(found).reshape(want.shape), want)


def test_a_measurement_alone_is_clear_where_nothing_was_seen():
    truth, measurement = measured()
    found = np.asarray(opened(measured_png(measurement)))
    seen = measurement.observed[0, 0].numpy()
    np.testing.assert_array_equal(found[..., 3], seen * 255)
    want = ((truth[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found[..., :3][seen], want[seen])


def test_the_scale_of_a_deviation_is_said():
    deviation = torch.zeros(3, 4, 4)
    deviation[:, 1, 2], deviation[0, 0, 0] = 0.6, 0.3
    png, top = deviation_png(deviation)
    assert top == pytest.approx(0.3)
    found = np.asarray(opened(png)).astype(int).sum(2)
    assert found.argmax() == 6 and found[3, 3] < found[0, 0] < found[1, 2]


def test_large_pictures_are_reduced_on_a_sheet_and_need_no_truth():
    keys = Keys.of(0, "large", [0])
    mask = Mask(keys.uniform("m", 1, 600, 1100) < 2)
    m = Measurement(mask, keys.uniform("x", 3, 600, 1100))
    sheet = opened(sample_sheet(None, m, None, m.y, None))
    assert sheet.width == 2 * (LARGEST + GAP) + GAP
    assert sheet.height == HEADER + LARGEST * 600 // 1100 + GAP
