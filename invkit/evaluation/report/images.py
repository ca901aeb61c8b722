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
from invkit.physics.operators.base import LinearOperator
from invkit.physics.points import binned

CELL = 128  # side of a cell in pixels, approximately: images are enlarged by whole factors
LARGEST = 512  # largest side of a cell; larger images are reduced
GAP, HEADER = 8, 44
PAPER, INK, FAINT = (255, 255, 255), (34, 34, 34), (110, 110, 110)
HEAT, SPREAD = "magma", "std"  # colours and label of standard deviations; other colour bars are grey
Rgb = NDArray[np.uint8]  # (H, W, 3)


def sample_sheet(
    truth: Tensor | None,  # (B, C, H, W)
    measurement: Measurement,
    reference: Tensor | None,  # (B, C, H, W): the initial estimate, or that of a baseline
    mean: Tensor | None,  # (B, C, H, W)
    samples: Tensor | None,  # (K, B, C, H, W)
    std: Tensor | None = None,  # (B, C, H, W); None: that of `samples`
    reference_label: str = "initial estimate",
    span: tuple[float, float] | None = None,  # values in the user's unit that mean -1 and 1
) -> bytes:
    """A PNG with a row per image: measurement, reference, posterior mean, two samples, standard deviation, truth.

    Arguments are in [-1, 1] units; exactly observed values are pasted in. The standard deviation is the root mean square
    over channels, in [0, 1] units or those of `span`, with one scale for the sheet. Images other than of two or three channels have
    a colour bar if `span` is given. Columns that are not given are left out.
    """
    bar = "" if span is None or measurement.grid.channels in (2, 3) else f"{span[0]:.3g} to {span[1]:.3g}"
    columns: list[tuple[str, str, list[Rgb]]] = [("measurement", bar, _measured(measurement))]

    def add(label: str, images: Tensor | None) -> None:
        if images is not None:
            columns.append((label, bar, [_rgb(x) for x in measurement.paste(images)]))

    add(reference_label, reference)
    add("posterior mean", mean)
    for k in range(0 if samples is None else min(2, len(samples))):
        add(f"sample {k + 1}", samples[k])  # type: ignore[index]
    if std is None and samples is not None and len(samples) > 1:
        std = samples.std(0)
    if std is not None:
        heat, top = _spread(std if measurement.exact is None else std * ~measurement.exact)
        top *= 1.0 if span is None else span[1] - span[0]
        columns.append((SPREAD, f"0 to {top:.2g}", heat))
    if truth is not None:
        columns.append(("truth", "", [_rgb(x) for x in truth]))
    return _png(columns)


def image_png(
    x: Tensor,  # (C, H, W), in [-1, 1]
    step: int = 1,
) -> bytes:
    """A PNG of an image, one pixel per `step` x `step` cells; greyscale if it has one channel."""
    rgb = _rgb(x)
    return _encoded(Image.fromarray(rgb if len(x) == 3 else rgb[..., 0]).reduce(step))


def heat_png(
    x: Tensor,  # (H, W), in [0, 1]; larger values have the last colour
    step: int = 1,
) -> bytes:
    """A PNG of an error or a standard deviation."""
    return _encoded(Image.fromarray(_heat(x.numpy())).reduce(step))


def scale_png() -> bytes:
    """The colours of `heat_png` from 0 to 1, from left to right."""
    return _encoded(Image.fromarray(_heat(np.linspace(0, 1, 128)[None])))


def measured_png(measurement: Measurement, step: int = 1) -> bytes:
    """A PNG of the first measurement: hidden pixels are transparent; without a mask, y if an image, else its pseudo-inverse."""
    measurement = binned(measurement)
    y = measurement.y
    if measurement.observed is None and y.ndim in (3, 4):
        return _encoded(Image.fromarray(_rescaled(y if y.ndim == 4 else y.unsqueeze(1))[2][0]).reduce(step))
    return _encoded(Image.fromarray(_measured(measurement)[0]).reduce(step))


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
        columns.append(_rescaled(measurement.y if measurement.y.ndim == 4 else measurement.y.unsqueeze(1)))
    label = "pseudo-inverse" if isinstance(measurement.operator, LinearOperator) else "initial image"
    columns.append((label, "", [_rgb(x) for x in measurement.operator.initial(measurement.y)]))
    return _png(columns, 2 * CELL)


def _rescaled(
    y: Tensor,  # (B, C, h, w)
) -> tuple[str, str, list[Rgb]]:
    """The label, note and images of a column of measurements; rescaled if they are not in [-1, 1] units."""
    low, high = float(y.min()), float(y.max())
    if low < -1.5 or high > 1.5:  # the label contains the range
        y = (y - low) / max(high - low, 1e-12) * 2 - 1
        return f"measurement, {low:.2g} to {high:.2g}", "", [_rgb(x) for x in y]
    return "measurement", "", [_rgb(x) for x in y]


def _rgb(x: Tensor) -> Rgb:
    """Convert an image (C, H, W) in [-1, 1] to bytes: two channels, real and imaginary part, to the magnitude, with black at
    zero; other numbers of channels than 3 to their mean.
    """
    x = x.detach().float().cpu()
    x = 2 * x.norm(dim=0, keepdim=True) - 1 if len(x) == 2 else x
    values = ((x.numpy().clip(-1, 1) + 1) * 127.5).round()
    if len(values) != 3:
        values = values.mean(0, keepdims=True).repeat(3, 0)
    return np.ascontiguousarray(values.transpose(1, 2, 0).astype(np.uint8))


def _measured(measurement: Measurement) -> list[Rgb]:
    """The measurements as images; without a mask, the images that fit them: for linear operators the pseudo-inverse."""
    measurement = binned(measurement)
    if measurement.observed is None:
        return [_rgb(x) for x in measurement.operator.initial(measurement.y)]
    observed = measurement.observed.any(1).cpu().numpy()
    images = [_rgb(x) for x in measurement.y]
    # alpha marks hidden pixels, which are drawn as a checkerboard
    return [np.dstack([x, 255 * o.astype(np.uint8)]) for x, o in zip(images, observed, strict=True)]


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
    for c, (label, note, images) in enumerate(columns):
        left = GAP + c * step
        draw.text((left, 6), label, INK, _font(14))
        if note:
            ramp = np.linspace(0, 1, 40)[None].repeat(8, 0)
            bar = _heat(ramp) if label == SPREAD else (255 * ramp).astype(np.uint8)
            sheet.paste(Image.fromarray(bar), (left, 28))
            draw.text((left + 46, 25), note, FAINT, _font(12))
        for r, image in enumerate(images):
            cell = Image.fromarray(image).resize((width, height), filter_)
            if cell.mode == "RGBA":
                cell = Image.composite(cell.convert("RGB"), _empty(height, width), cell.getchannel("A"))
            sheet.paste(cell, (left, HEADER + r * (height + GAP)))
    return _encoded(sheet)


def _encoded(image: Image.Image) -> bytes:
    data = io.BytesIO()
    info = PngInfo()
    info.add_text("Software", "invkit")
    image.save(data, "PNG", optimize=True, pnginfo=info)
    return data.getvalue()
