"""Nearest neighbour: the simplest reading of a mask."""

import torch
from torch import Tensor

from invkit.degradation import Measurement
from invkit.reconstruct.base import mask_of
from invkit.reconstruct.method import PointEstimate


class Nearest(PointEstimate):
    """The nearest observed pixel (Euclidean; ties to the first in reading order); zero, grey, where nothing is observed."""

    name = "nearest"  # type: ignore[misc]

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
