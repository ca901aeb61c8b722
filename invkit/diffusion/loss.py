"""The denoising loss: its domain, norm and weight."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.settings import Settings
from invkit.physics.gaussian import GaussianField


class Loss(Settings):
    """`w(sigma)` times the mean squared error of the denoiser over the domain; for a mask, over the hidden pixels."""

    weight: Literal["unit", "x0", "epsilon"] = Field(
        "unit",
        description="w: 1 / c_out^2, for a loss of about one at every level (unit), 1 (x0), or 1 / sigma^2 (epsilon)",
    )
    whiten: float | None = Field(
        None,
        gt=0,
        le=1,
        description="whiten the error by C^(-1/2) of the noise field, with eigenvalues of at least this share of the largest; "
        "null: the L2 norm",
    )

    def __call__(
        self,
        error: Tensor,  # (B, C, H, W): denoised minus clean
        where: Tensor | None,  # (B, 1 or C, H, W): pixel weights, None for the whole domain
        sigma: Tensor,  # (B,) in (0, inf]
        power: Tensor,  # (B,): see `Scaling.power`
        noise: GaussianField,
        grid: Grid,
    ) -> Tensor:
        """The loss of each image, (B,)."""
        size = float(error[0].numel())
        total: Tensor | float = size
        if where is not None:
            where = where.expand_as(error)
            error, total = error * where, where.sum((1, 2, 3)).clamp(min=1)
        if self.whiten is not None:
            largest = noise.operator(torch.ones(1, grid.channels, 1, 1).expand(1, *grid.picture), grid, 1.0).mean()
            error = noise.operator(error, grid, -0.5, self.whiten) * float(largest) ** 0.5
        loss = error.square().sum((1, 2, 3)) / total
        if self.weight == "unit":
            return loss / power
        level = torch.where(sigma.isinf(), 1.0, sigma)  # at infinity the target is the posterior mean
        return loss / level.square() if self.weight == "epsilon" else loss
