"""A mask drawn by the user."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image

from invkit.api import DataError, Degradation, Field, Grid, Keys, LinearOperator, Mask, PathSetting

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: Pillow runs programs for some


class MaskPicture(Degradation):
    """See what is white in a picture of the mask, scaled to the grid by area averages; hide what is black."""

    file: PathSetting = Field(
        description="picture of the mask, white where pixels are seen, black where they are missing"
    )

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        folder = Path(__file__).parent / "examples"
        return [cls(file=str(folder / name)) for name in ("letters.png", "frame.png")]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        path = Path(self.file)
        try:
            with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as picture:
                small = picture.convert("L").resize((grid.width, grid.height), Image.Resampling.BOX)
        except (OSError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be read as a picture of a mask ({error})") from None
        observed = torch.from_numpy(np.asarray(small) >= 128).to(keys.state.device)
        return Mask(observed.expand(len(keys), 1, -1, -1), grid.channels)
