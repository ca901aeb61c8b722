"""A mask from an image file."""

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
    """Observe the white pixels of an image of the mask, scaled to the grid by area averages; hide the black ones."""

    file: PathSetting = Field(description="image of the mask: white for observed pixels, black for hidden ones")

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
            raise DataError(f"{path}: cannot be read as an image of a mask ({error})") from None
        observed = torch.from_numpy(np.asarray(small) >= 128).to(keys.state.device)
        return Mask(observed.expand(len(keys), 1, -1, -1), grid.channels)
