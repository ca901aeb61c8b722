"""Gradients through a denoiser."""

from collections.abc import Callable

import torch
from torch import Tensor

from invkit.reconstructors.zeroshot.prior import Prior


def linearised(prior: Prior, x: Tensor, sigma: float) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`D(x)` (B, C, H, W), and `v -> J^T v` with `J = dD / dx`, to be called once.

    `J^T` is also the adjoint in L2, where every pixel weighs the same.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        clean = prior.denoise(x, sigma)
    return clean.detach(), lambda v: torch.autograd.grad(clean, x, v)[0]
