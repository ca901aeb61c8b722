"""Nearest neighbour: the simplest reading of a mask."""

import torch
from torch import Tensor

from invkit.physics.degradation import Measurement
from invkit.reconstructors.base import PointEstimate, mask_of


class Nearest(PointEstimate):
    """Every hidden pixel takes the value of the nearest observed one (Euclidean; ties to the first in reading order).

    Where nothing is observed the picture is grey, that is zero.
    """

    name = "nearest"

    def mean(self, measurement: Measurement) -> Tensor:
        observed = mask_of(measurement, self.name)
        grid = measurement.grid
        rows, columns = torch.meshgrid(*(torch.arange(n, device=observed.device) for n in grid.shape), indexing="ij")
        cells = torch.stack([rows.flatten(), columns.flatten()], 1)
        out = torch.zeros_like(measurement.y)
        for b, item in enumerate(observed):
            for c, seen in enumerate(item.flatten(1)):
                places = seen.nonzero()[:, 0]
                if not len(places):
                    continue
                distance = (cells[:, None] - cells[places]).square().sum(2)  # integers: no ties by rounding
                chosen = places[distance.argmin(1)].view(grid.shape)
                channels = slice(None) if len(item) == 1 else slice(c, c + 1)
                out[b, channels] = measurement.y[b, channels].flatten(1)[:, chosen]
        return out
