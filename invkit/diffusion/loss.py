"""The denoising loss: where and with which weight the error of the denoiser counts."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.settings import Settings, retired


class Loss(Settings):
    """`w(sigma)` times the mean over the domain (of what is hidden, for a mask) of the squared error of the denoiser."""

    weight: Literal["unit", "x0", "epsilon"] = Field(
        "unit",
        description="w: that of a loss of about one at every level (unit: 1 / c_out^2), one (x0), or 1 / sigma^2 (epsilon)",
    )
    _retired = retired(whiten=None)

    def __call__(
        self,
        error: Tensor,  # (B, C, H, W): denoised less clean
        where: Tensor | None,  # (B, 1 or C, H, W) weights of pixels, None for all
        sigma: Tensor,  # (B,) in (0, inf]
        power: Tensor,  # (B,): pixel power of the output's scale
    ) -> Tensor:
        """The loss of every picture, (B,)."""
        size = float(error[0].numel())
        total: Tensor | float = size
        if where is not None:
            where = where.expand_as(error)
            error, total = error * where, where.sum((1, 2, 3)).clamp(min=1)
        loss = error.square().sum((1, 2, 3)) / total
        if self.weight == "unit":
            return loss / power
        level = torch.where(sigma.isinf(), 1.0, sigma)  # the mean has no noise to count in
        return loss / level.square() if self.weight == "epsilon" else loss
