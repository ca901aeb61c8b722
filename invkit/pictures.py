"""Labelled sheets of pictures."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from invkit.degradation import Measurement

CELL = 112  # side of a shown picture, about
GAP, LABEL = 4, 24
HIDDEN = (236, 239, 244)  # colour of what was not measured: no grey of a picture's own is near so light a blue
Cells = NDArray[np.uint8]  # (B, H, W, 3)


def _rgb(x: Tensor) -> Cells:
    """Pictures (B, C, H, W) in [-1, 1] as bytes; one channel is shown grey, of more than three the first three."""
    x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
    return ((x.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def measured(measurement: Measurement) -> Cells:
    """What was seen: hidden pixels in a colour of their own; for other operators the back-projection."""
    shown = _rgb(measurement.operator.pinv(measurement.y))
    if measurement.observed is not None:
        shown = np.where(measurement.observed.any(1).cpu().numpy()[..., None], shown, np.array(HIDDEN, np.uint8))
    return shown


def heat(x: Tensor, top: float) -> Cells:
    """Values (B, H, W) in [0, top] as a heat map."""
    shares = (x.detach().cpu() / max(top, 1e-12)).clamp(0, 1).numpy()
    return (colormaps["inferno"](shares)[..., :3] * 255).round().astype(np.uint8)


def sheet(columns: Sequence[tuple[str, Cells]]) -> bytes:
    """A PNG with a labelled column for each set of pictures and a row for each picture."""
    count, height, width = columns[0][1].shape[:3]
    factor = max(1, round(CELL / min(height, width)))
    font = ImageFont.load_default(13)
    h, w = height * factor, width * factor
    page = Image.new("RGB", (GAP + len(columns) * (w + GAP), LABEL + count * (h + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for i, (label, cells) in enumerate(columns):
        left = GAP + i * (w + GAP)
        draw.text((left + w / 2, LABEL / 2), label, fill="black", font=font, anchor="mm")
        for j, cell in enumerate(cells):
            page.paste(Image.fromarray(cell).resize((w, h), Image.Resampling.NEAREST), (left, LABEL + j * (h + GAP)))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def sample_sheet(
    truth: Tensor,  # (B, C, H, W) in [-1, 1]
    measurement: Measurement,
    fill: Tensor,  # (B, C, H, W)
    mean: Tensor,  # (B, C, H, W)
    samples: Tensor,  # (K, B, C, H, W), K >= 2
    start: str = "fill",
) -> bytes:
    """The sheet of a model at work: what was seen, what it started from, mean, samples, deviation, truth (PNG)."""
    mean, samples = measurement.paste(mean), measurement.paste(samples)
    deviation = samples.var(0).mean(1).sqrt() / 2  # on [0, 1], over the channels
    top = float(deviation.quantile(0.99))
    return sheet(
        [
            ("measurement", measured(measurement)),
            (start, _rgb(measurement.paste(fill))),
            ("posterior mean", _rgb(mean)),
            ("sample 1", _rgb(samples[0])),
            ("sample 2", _rgb(samples[1])),
            (f"deviation 0-{top:.2f}", heat(deviation, top)),
            ("truth", _rgb(truth)),
        ]
    )
