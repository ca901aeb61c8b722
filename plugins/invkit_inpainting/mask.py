"""A mask from an image file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask, PathSetting, read_image


class MaskImage(Degradation):
    """Observe the white pixels of an image of the mask, scaled to the grid by area averages; hide the black ones."""

    file: PathSetting = Field(description="image of the mask: white for observed pixels, black for hidden ones")

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        folder = Path(__file__).parent / "examples"
        return [cls(file=str(folder / name)) for name in ("letters.png", "frame.png")]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        small = read_image(Path(self.file), "L").resize((grid.width, grid.height), Image.Resampling.BOX)
        observed = torch.from_numpy(np.asarray(small) >= 128).to(keys.state.device)
        return Mask(observed.expand(len(keys), 1, -1, -1), grid.channels)
