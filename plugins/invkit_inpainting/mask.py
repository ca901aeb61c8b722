"""A mask from an image file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask, PathSetting, read_mask


class MaskImage(Degradation):
    """Observe the white pixels of an image of the mask and hide the black ones.

    `y = M x`: M is 1 where the mask is white and 0 where it is black.

    The mask is cropped to the aspect of the grid, as images are; a cell is observed if at least half of it is white.
    """

    file: PathSetting = Field(description="image of the mask: white for observed pixels, black for hidden ones")

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        folder = Path(__file__).parent / "examples"
        return [cls(file=str(folder / name)) for name in ("letters.png", "frame.png")]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        observed = torch.from_numpy(read_mask(Path(self.file), grid)).to(keys.device)
        return Mask(observed.expand(len(keys), 1, -1, -1), grid.channels)
