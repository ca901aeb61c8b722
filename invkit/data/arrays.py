"""Images in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.grid import Grid
from invkit.data.base import Images
from invkit.data.resampling import area_table, cell_averages, centre_box, to_batch


@dataclass(frozen=True, eq=False)
class ArrayImages(Images):
    """Images of one size in an array; id `i` is row `order[i]`, centre-cropped to the grid's aspect and area-averaged."""

    pixels: NDArray[np.uint8]  # (N, h, w, C)
    order: NDArray[np.int64]  # (number of images,)
    names: Sequence[str]  # of the N rows; used as groups
    grid: Grid
    notes: tuple[str, ...] = ()
    split_used: str = ""

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        images = self.pixels[self.order[np.asarray(ids, dtype=np.int64)]]
        size = images.shape[1:3]
        if size == self.grid.shape:
            return to_batch(images, self.grid)
        return to_batch(cell_averages(area_table(images), centre_box(size, self.grid), self.grid), self.grid)

    def group(self, image_id: int) -> str:
        return self.names[self.order[image_id]]
