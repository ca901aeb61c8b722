"""PNG files: images, and labelled sheets of measurements and reconstructions."""

import io
from functools import cache

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from invkit.physics.measurement import Measurement

CELL = 128  # side of a cell in pixels, approximately: images are enlarged by whole factors
LARGEST = 512  # largest side of a cell; larger images are reduced
GAP, HEADER = 8, 44
PAPER, INK, FAINT = (255, 255, 255), (34, 34, 34), (110, 110, 110)
HEAT = "magma"

Rgb = NDArray[np.uint8]  # (H, W, 3)


def sample_sheet(
    truth: Tensor | None,  # (B, C, H, W)
    measurement: Measurement,
    fill: Tensor | None,  # (B, C, H, W)
    mean: Tensor | None,  # (B, C, H, W)
    samples: Tensor | None,  # (K, B, C, H, W)
    deviation: Tensor | None = None,  # (B, C, H, W); None: that of `samples`
    fill_label: str = "initial estimate",
) -> bytes:
    """A PNG with a row per image: measurement, initial estimate, posterior mean, two samples, standard deviation, truth.

    Arguments are in [-1, 1] units; exactly observed values are pasted in. The standard deviation is the root mean square
    over channels, in [0, 1] units, with one scale for the sheet. Columns that are not given are left out.
    """
    columns: list[tuple[str, str, list[Rgb]]] = [("measurement", "", _measured(measurement))]

    def add(label: str, pictures: Tensor | None) -> None:
        if pictures is not None:
            columns.append((label, "", [_rgb(x) for x in measurement.paste(pictures)]))

    add(fill_label, fill)
    add("posterior mean", mean)
    for k in range(0 if samples is None else min(2, len(samples))):
        add(f"sample {k + 1}", samples[k])  # type: ignore[index]
    if deviation is None and samples is not None and len(samples) > 1:
        deviation = samples.std(0)
    if deviation is not None:
        if measurement.observed is not None and measurement.sigma == 0:
            deviation = deviation * ~measurement.observed
        heat, top = _spread(deviation)
        columns.append(("std", f"0 to {top:.2g}", heat))
    if truth is not None:
        columns.append(("truth", "", [_rgb(x) for x in truth]))
    return _png(columns)


def picture_png(
    x: Tensor,  # (C, H, W), in [-1, 1]
) -> bytes:
    """A PNG of an image, one pixel per cell; greyscale if it has one channel."""
    rgb = _rgb(x)
    return _encoded(Image.fromarray(rgb if len(x) == 3 else rgb[..., 0]))


def measured_png(measurement: Measurement) -> bytes:
    """A PNG of the first measurement: hidden pixels are transparent; without a mask, y if an image, else its pseudo-inverse."""
    y = measurement.y
    if measurement.observed is None and y.ndim in (3, 4):
        return _encoded(Image.fromarray(_seen(y if y.ndim == 4 else y.unsqueeze(1))[2][0]))
    return _encoded(Image.fromarray(_measured(measurement)[0]))


def deviation_png(
    deviation: Tensor,  # (C, H, W)
) -> tuple[bytes, float]:
    """A PNG of the standard deviation (root mean square over channels), and the value of its brightest colour on [0, 1]."""
    heat, top = _spread(deviation[None])
    return _encoded(Image.fromarray(heat[0])), top


def _spread(deviation: Tensor) -> tuple[list[Rgb], float]:
    spread = (deviation.double() / 2).square().mean(1).sqrt().cpu().numpy()  # (B, H, W)
    top = float(spread.max()) or 1.0
    return [_heat(x / top) for x in spread], top


def operator_sheet(
    truth: Tensor,  # (B, C, H, W)
    measurement: Measurement,
) -> bytes:
    """A PNG with a row per image: image, measurement (if y is an image), pseudo-inverse."""
    columns: list[tuple[str, str, list[Rgb]]] = [("photo", "", [_rgb(x) for x in truth])]
    if measurement.observed is not None:
        columns.append(("measurement", "", _measured(measurement)))
    elif measurement.y.ndim in (3, 4):
        columns.append(_seen(measurement.y if measurement.y.ndim == 4 else measurement.y.unsqueeze(1)))
    columns.append(("pseudo-inverse", "", [_rgb(x) for x in measurement.operator.pinv(measurement.y)]))
    return _png(columns, 2 * CELL)


def _seen(
    y: Tensor,  # (B, C, h, w)
) -> tuple[str, str, list[Rgb]]:
    """A column of measurements (B, C, h, w) of any size and scale: label, note and images."""
    low, high = float(y.min()), float(y.max())
    if low < -1.5 or high > 1.5:  # not in [-1, 1] units: rescaled, with the range in the label
        y = (y - low) / max(high - low, 1e-12) * 2 - 1
        return f"measurement, {low:.2g} to {high:.2g}", "", [_rgb(x) for x in y]
    return "measurement", "", [_rgb(x) for x in y]


def _rgb(x: Tensor) -> Rgb:
    """Convert an image (C, H, W) in [-1, 1] to bytes; unless C = 3, channels are averaged to grey."""
    values = ((x.detach().float().cpu().numpy().clip(-1, 1) + 1) * 127.5).round()
    if len(values) != 3:
        values = values.mean(0, keepdims=True).repeat(3, 0)
    return np.ascontiguousarray(values.transpose(1, 2, 0).astype(np.uint8))


def _measured(measurement: Measurement) -> list[Rgb]:
    """The measurements as images; without a mask, their pseudo-inverses."""
    if measurement.observed is None:
        return [_rgb(x) for x in measurement.operator.pinv(measurement.y)]
    seen = measurement.observed.any(1).cpu().numpy()
    pictures = [_rgb(x) for x in measurement.y]
    # alpha marks hidden pixels, which are drawn as a checkerboard
    return [np.dstack([x, 255 * s.astype(np.uint8)]) for x, s in zip(pictures, seen, strict=True)]


def _heat(x: NDArray[np.float64]) -> Rgb:
    return np.asarray(colormaps[HEAT](x, bytes=True), np.uint8)[..., :3]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _empty(height: int, width: int) -> Image.Image:
    """A light checkerboard, which marks hidden pixels."""
    rows, cols = np.indices((height, width)) // 4
    odd = (rows + cols) % 2
    return Image.fromarray(np.where(odd[..., None], np.uint8(244), np.uint8(224)).repeat(3, 2).astype(np.uint8))


def _png(columns: list[tuple[str, str, list[Rgb]]], cell_side: int = CELL) -> bytes:
    height, width = columns[0][2][0].shape[:2]
    side = max(height, width)
    if side > LARGEST:
        height, width = (max(1, n * LARGEST // side) for n in (height, width))
    factor = max(1, cell_side // side)
    height, width = height * factor, width * factor
    filter_ = Image.Resampling.BOX if side > LARGEST else Image.Resampling.NEAREST
    step = max(width, 112) + GAP  # room for the longest label
    rows = len(columns[0][2])
    sheet = Image.new("RGB", (len(columns) * step + GAP, HEADER + rows * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for c, (label, note, pictures) in enumerate(columns):
        left = GAP + c * step
        draw.text((left, 6), label, INK, _font(14))
        if note:
            ramp = _heat(np.linspace(0, 1, 40)[None].repeat(8, 0))
            sheet.paste(Image.fromarray(ramp), (left, 28))
            draw.text((left + 46, 25), note, FAINT, _font(12))
        for r, picture in enumerate(pictures):
            cell = Image.fromarray(picture).resize((width, height), filter_)
            if cell.mode == "RGBA":
                cell = Image.composite(cell.convert("RGB"), _empty(height, width), cell.getchannel("A"))
            sheet.paste(cell, (left, HEADER + r * (height + GAP)))
    return _encoded(sheet)


def _encoded(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    info = PngInfo()
    info.add_text("Software", "invkit")
    picture.save(data, "PNG", optimize=True, pnginfo=info)
    return data.getvalue()
