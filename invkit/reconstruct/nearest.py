"""Nearest neighbour: the simplest reading of a mask."""

import torch
from torch import Tensor

from invkit.degradation import Measurement
from invkit.errors import RecipeError
from invkit.keys import Keys
from invkit.reconstruct.base import Reconstructor


class Nearest(Reconstructor):
    """Every hidden pixel takes the value of the nearest observed one (Euclidean; ties to the first in reading order)."""

    name = "nearest"
    readouts = ("point",)

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        observed = measurement.observed
        if observed is None:
            raise RecipeError("eval.methods: `nearest` reads masks only; leave it out for this degradation")
        grid = measurement.grid
        rows, columns = torch.meshgrid(*(torch.arange(n, device=observed.device) for n in grid.shape), indexing="ij")
        cells = torch.stack([rows.flatten(), columns.flatten()], 1)
        out = torch.empty_like(measurement.y)
        for b, item in enumerate(observed):
            for c, seen in enumerate(item.flatten(1)):
                places = seen.nonzero()[:, 0]
                distance = (cells[:, None] - cells[places]).square().sum(2)  # integers: no ties by rounding
                chosen = places[distance.argmin(1)].view(grid.shape)
                channels = slice(None) if len(item) == 1 else slice(c, c + 1)
                out[b, channels] = measurement.y[b, channels].flatten(1)[:, chosen]
        return out

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise NotImplementedError("nearest has a point readout only")
