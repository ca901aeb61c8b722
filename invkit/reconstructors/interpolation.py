"""Nearest and linear interpolation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import PointEstimate, mask_of

Array = NDArray[np.float64]


class Linear(PointEstimate):
    """Linear interpolation on the Delaunay triangulation of the observed pixels; nearest neighbour outside their convex hull.

    If all observed pixels lie on a line, the interpolation is linear along the line, and constant across it and beyond its
    ends. For four pixels on a circle, Qhull chooses one of the two diagonals, always the same one. Channels with different
    masks are interpolated separately. Noise is interpolated as well.
    """

    name = "linear"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        observed = mask_of(measurement, self.name).cpu()
        out = Nearest().mean(measurement)
        for b, item in enumerate(observed):
            for c, known in enumerate(item):
                channels = slice(None) if len(item) == 1 else slice(c, c + 1)
                centres = known.nonzero().double().numpy()
                if len(centres) < 2:
                    continue
                values = measurement.y[b, channels][:, known.to(out.device)].T.cpu().double().numpy()
                cells = np.argwhere(np.ones(known.shape)).astype(np.float64)
                linear = _interpolated(centres, values, cells).T.reshape(-1, *known.shape)
                image = torch.from_numpy(linear).to(out)
                out[b, channels] = torch.where(image.isnan() | known.to(out.device), out[b, channels], image)
        return out


def _interpolated(centres: Array, values: Array, cells: Array) -> Array:
    """Values (M, C) at `cells` (M, 2) from `values` (n, C) at n >= 2 distinct `centres` (n, 2); NaN outside their hull."""
    from scipy.interpolate import LinearNDInterpolator

    offsets = centres - centres[0]
    line = offsets[np.square(offsets).sum(1).argmax()]
    if np.any(offsets[:, 0] * line[1] != offsets[:, 1] * line[0]):  # not collinear; exact, as these are integers
        return LinearNDInterpolator(centres, values)(cells)
    along = offsets @ line
    order = along.argsort()
    position = (cells - centres[0]) @ line
    return np.stack([np.interp(position, along[order], column[order]) for column in values.T], 1)


class Nearest(PointEstimate):
    """The value of the nearest observed pixel (Euclidean; the first in reading order of ties); zero if nothing is observed."""

    name = "nearest"  # type: ignore[misc]

    def mean(self, measurement: Measurement) -> Tensor:
        observed = mask_of(measurement, self.name)
        grid = measurement.grid
        rows, columns = torch.meshgrid(*(torch.arange(n, device=observed.device) for n in grid.shape), indexing="ij")
        cells = torch.stack([rows.flatten(), columns.flatten()], 1)
        out = torch.zeros_like(measurement.y)
        for b, item in enumerate(observed):
            for c, known in enumerate(item.flatten(1)):
                pixels = known.nonzero()[:, 0]
                if not len(pixels):
                    continue
                distance = (cells[:, None] - cells[pixels]).square().sum(2)  # integers, so ties are exact
                nearest = pixels[distance.argmin(1)].view(grid.shape)
                channels = slice(None) if len(item) == 1 else slice(c, c + 1)
                out[b, channels] = measurement.y[b, channels].flatten(1)[:, nearest]
        return out
