"""Nearest and linear interpolation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import PointEstimate, mask_of

Array = NDArray[np.float64]


class Linear(PointEstimate):
    """Linear interpolation between the observed pixels, on their Delaunay triangulation; the nearest outside their hull.

    Centres on one line have no triangles: there it is linear along the line, constant across it and beyond the last centres.
    Where four centres are on a circle either diagonal is Delaunay; which one is taken is up to Qhull, and the same each
    time. A mask of its own for each channel interpolates each channel by itself. Noise is interpolated too.
    """

    name = "linear"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        observed = mask_of(measurement, self.name).cpu()
        out = Nearest().mean(measurement)
        for b, item in enumerate(observed):
            for c, seen in enumerate(item):
                channels = slice(None) if len(item) == 1 else slice(c, c + 1)
                centres = seen.nonzero().double().numpy()
                if len(centres) < 2:
                    continue
                values = measurement.y[b, channels][:, seen.to(out.device)].T.cpu().double().numpy()
                cells = np.argwhere(np.ones(seen.shape)).astype(np.float64)
                found = _interpolated(centres, values, cells).T.reshape(-1, *seen.shape)
                made = torch.from_numpy(found).to(out)
                out[b, channels] = torch.where(made.isnan() | seen.to(out.device), out[b, channels], made)
        return out


def _interpolated(centres: Array, values: Array, cells: Array) -> Array:
    """Values (M, C) at cells (M, 2) from values (n, C) at n >= 2 different centres (n, 2); NaN outside the hull."""
    from scipy.interpolate import LinearNDInterpolator

    apart = centres - centres[0]
    line = apart[np.square(apart).sum(1).argmax()]
    if np.any(apart[:, 0] * line[1] != apart[:, 1] * line[0]):  # whole numbers: collinear or not, without rounding
        return LinearNDInterpolator(centres, values)(cells)
    along = apart @ line
    order = along.argsort()
    place = (cells - centres[0]) @ line
    return np.stack([np.interp(place, along[order], column[order]) for column in values.T], 1)


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
