"""Pictures that are held in memory."""

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
    """Pictures of one size in an array; id `i` is row `order[i]`, centre-cropped to the grid's aspect and averaged."""

    pixels: NDArray[np.uint8]  # (N, h, w, C)
    order: NDArray[np.int64]  # (number of pictures,)
    names: Sequence[str]  # of the N rows
    grid: Grid
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        pictures = self.pixels[self.order[np.asarray(ids, dtype=np.int64)]]
        size = pictures.shape[1:3]
        if size == self.grid.shape:
            return to_batch(pictures, self.grid)
        return to_batch(cell_averages(area_table(pictures), centre_box(size, self.grid), self.grid), self.grid)

    def group(self, image_id: int) -> str:
        return self.names[self.order[image_id]]
