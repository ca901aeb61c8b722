"""The denoising loss: its domain and weight."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from invkit.core.settings import Settings, retired


class Loss(Settings):
    """`w(sigma)` times the mean squared error of the denoiser over the domain; for a mask, over the hidden pixels."""

    weight: Literal["unit", "x0", "epsilon"] = Field(
        "unit",
        description="w: 1 / c_out^2, for a loss of about one at every level (unit), 1 (x0), or 1 / sigma^2 (epsilon)",
    )
    _retired = retired(whiten=None)

    def __call__(
        self,
        error: Tensor,  # (B, C, H, W): denoised minus clean
        where: Tensor | None,  # (B, 1 or C, H, W): pixel weights, None for the whole domain
        sigma: Tensor,  # (B,) in (0, inf]
        power: Tensor,  # (B,): see `Scaling.power`
    ) -> Tensor:
        """The loss of each image, (B,)."""
        size = float(error[0].numel())
        total: Tensor | float = size
        if where is not None:
            where = where.expand_as(error)
            error, total = error * where, where.sum((1, 2, 3)).clamp(min=1)
        loss = error.square().sum((1, 2, 3)) / total
        if self.weight == "unit":
            return loss / power
        level = sigma.masked_fill(sigma.isinf(), 1.0)  # at infinity the target is the posterior mean
        return loss / level.square() if self.weight == "epsilon" else loss
