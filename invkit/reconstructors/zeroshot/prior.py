"""The prior of zero-shot solvers: an unconditional denoiser and the covariance of its noise."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import Condition
from invkit.diffusion.model import ConditionalModel
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask


class Prior(ABC):
    """Prior of images `x_0` on any grid, given by a denoiser of `x = x_0 + sigma n` with noise `n` of pixel covariance C.

    Everything is in pixel units. By Tweedie's formula `D = x + sigma^2 C grad log p(x)`: C maps a gradient to a change of the
    denoised image, and is never inverted.
    """

    @abstractmethod
    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """`D(x) = E[x_0 | x]` (B, C, H, W), differentiable in x."""

    @abstractmethod
    def noise(self, keys: Keys, grid: Grid, label: str) -> Tensor:
        """A sample of `n` (B, C, H, W)."""

    @abstractmethod
    def covariance(self, x: Tensor) -> Tensor:
        """`C x` (B, C, H, W)."""

    @abstractmethod
    def max_eigenvalue(self, grid: Grid) -> float:
        """The largest eigenvalue of C."""

    @abstractmethod
    def noise_std(self, grid: Grid) -> float:
        """Pixel std of `n` (root mean square)."""

    @abstractmethod
    def mean(self, grid: Grid) -> Tensor:
        """E[x_0] (1, C, H, W)."""

    @abstractmethod
    def std(self, grid: Grid) -> float:
        """Pixel std of `x_0` (root mean square)."""


class TrainedPrior(Prior):
    """A model trained on the degradation `nothing`: `x = mean + std z` with diffusion noise on z."""

    def __init__(self, model: ConditionalModel) -> None:
        self.model = model.eval().requires_grad_(False)

    def _condition(self, grid: Grid) -> Condition:
        """The conditioning inputs of an empty measurement."""
        device = self.model.token.device
        mask = Mask(torch.zeros(1, 1, *grid.shape, dtype=torch.bool, device=device), grid.channels)
        return self.model.condition(
            Measurement(mask, torch.zeros(1, *grid.picture, dtype=torch.float32, device=device))
        )

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        condition = self._condition(Grid(x.shape[2], x.shape[3], x.shape[1])).repeat(len(x))
        z = condition.estimate.residual(x)
        z = self.model.denoise(z, torch.full((len(z),), sigma, dtype=torch.float32, device=z.device), condition)
        return condition.estimate.image(z)

    def noise(self, keys: Keys, grid: Grid, label: str) -> Tensor:
        return self._condition(grid).estimate.std * self.model.diffusion.field.sample(keys, grid, label)

    def covariance(self, x: Tensor) -> Tensor:
        grid = Grid(x.shape[2], x.shape[3], x.shape[1])
        std = self._condition(grid).estimate.std
        return std * self.model.diffusion.field.covariance(std * x, grid)

    def max_eigenvalue(self, grid: Grid) -> float:
        spectrum = self.model.diffusion.field.spectrum(grid).permute(2, 3, 0, 1)
        power = float(torch.linalg.eigvalsh(spectrum).max()) / grid.area
        return power * float(self._condition(grid).estimate.std.square().max())

    def noise_std(self, grid: Grid) -> float:
        return self.model.diffusion.field.pixel_std(grid) * self.std(grid)

    def mean(self, grid: Grid) -> Tensor:
        return self._condition(grid).estimate.mean

    def std(self, grid: Grid) -> float:
        return float(self._condition(grid).estimate.std.square().mean().sqrt())  # z has a std of about 1


def denoise_with_vjp(prior: Prior, x: Tensor, sigma: float) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`D(x)` (B, C, H, W), and the vector-Jacobian product `v -> J^T v` with `J = dD / dx`.

    `J^T` is also the adjoint in L2, where all pixels have the same weight.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        clean = prior.denoise(x, sigma)
    return clean.detach(), lambda v: torch.autograd.grad(clean, x, v, retain_graph=True)[0]


FLOOR = 0.1  # smallest variance of a measured value, relative to the mean variance of the image's


def working(measurement: Measurement, found: Tensor) -> tuple[Tensor, Tensor]:
    """Residual and variance (B, *range) of the Gaussian that has the score of the likelihood at noiseless values `found`.

    `y - A(x)` and `sigma^2` for white Gaussian noise; else the variance v of the law, and v times the score (the working residual
    of generalised linear models: Nelder & Wedderburn 1972). Raises Unavailable for a likelihood without gradient.
    """
    if (sigma := measurement.noise.white) is not None:
        return measurement.y - found, torch.full_like(found, sigma**2)
    variance = measurement.noise.variance(found)
    mean = variance.flatten(1).mean(1).view(-1, *[1] * (found.ndim - 1))
    variance = variance.maximum(FLOOR * mean).clamp(min=1e-12)
    return variance * measurement.score(found), variance
