"""Super-resolution: a smaller image is measured, by cell averages or through a Gaussian or bicubic filter."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Separable, hookimpl


def _centres(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Centres of `m` coarse cells (m, 1) and of `n` cells (n,) that cover the same length, in cells."""
    coarse = (torch.arange(m, dtype=torch.float64)[:, None] + 0.5) * n / m
    return coarse, torch.arange(n, dtype=torch.float64) + 0.5


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(1, keepdim=True)


class Downsampling(Degradation):
    """Measure an image with `1 / factor` times as many cells along both axes, each a weighted mean of the cells of the grid."""

    factor: float = Field(
        4.0,
        ge=1,
        le=64,
        description="cells per measured cell along an axis, also fractional; the number of measured cells is rounded",
    )

    @abstractmethod
    def weights(self, n: int, m: int) -> Tensor:
        """Weights (m, n) float64 of `n` cells in each of `m` measured cells; rows sum to 1."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        rows, columns = (_matrix(self, n, keys.device) for n in grid.shape)
        return Separable(len(keys), grid, rows=rows, columns=columns)


@lru_cache(maxsize=64)
def _matrix(degradation: Downsampling, n: int, device: torch.device) -> Tensor:
    return degradation.weights(n, max(1, round(n / degradation.factor)))[None].to(device)


class BlockMean(Downsampling):
    """Measure exact averages over larger cells, as a coarser sensor does.

    `y(q) = 1 / area(q) integral x` over the measured cell q.
    """

    def weights(self, n: int, m: int) -> Tensor:
        edges = torch.arange(m + 1, dtype=torch.float64)[:, None] * n / m
        covered = (edges - torch.arange(n, dtype=torch.float64)).clamp(
            0, 1
        )  # share of each cell to the left of an edge
        return covered.diff(dim=0) * m / n


class GaussianDownsampling(Downsampling):
    """Measure a smaller image through a Gaussian filter; weights are renormalised at the border.

    `y(q) = sum_p w(p - q) x(p) / sum_p w(p - q)`, with `w(d) = exp(-d^2 / (2 width^2))` and d in measured cells.
    """

    width: float = Field(0.5, gt=0, le=2, description="standard deviation of the filter, in measured cells")

    def weights(self, n: int, m: int) -> Tensor:
        coarse, fine = _centres(n, m)
        distance = (fine - coarse) / (self.width * n / m)
        # The largest exponent is set to 0, so that the weights of a narrow filter do not underflow.
        exponent = -distance.square() / 2
        return _normalised((exponent - exponent.amax(1, keepdim=True)).exp())


class BicubicDownsampling(Downsampling):
    """Measure a smaller image through the anti-aliased bicubic filter (Keys 1981, a = -1/2), renormalised at the border.

    `y(q) = sum_p w(p - q) x(p) / sum_p w(p - q)`, with w Keys' cubic, stretched by `factor`.
    """

    def weights(self, n: int, m: int) -> Tensor:
        coarse, fine = _centres(n, m)
        t = (fine - coarse).abs() * m / n
        near = (1.5 * t - 2.5) * t * t + 1
        far = ((-0.5 * t + 2.5) * t - 4) * t + 2
        return _normalised(torch.where(t < 1, near, torch.where(t < 2, far, 0)))


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {
        "superres-mean": BlockMean,
        "superres-gaussian": GaussianDownsampling,
        "superres-bicubic": BicubicDownsampling,
    }
