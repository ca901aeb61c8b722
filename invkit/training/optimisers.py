"""Optimisers: Muon for convolutions, torch's AdamW for all other parameters; averaging of the weights."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # five steps map singular values to about [0.7, 1.2]


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate the nearest semi-orthogonal matrices (..., rows, columns) by five quintic Newton-Schulz steps in `dtype`."""
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices)


class Muon(torch.optim.Optimizer):
    """Muon: momentum with orthogonalised updates (Jordan et al. 2024); kernels are reshaped to matrices (out, rest).

    Kernels of equal shape are orthogonalised as one batch, in `dtype`. As with torch's fused optimisers, a step changes
    nothing if the tensor `found_inf` is one.
    """

    found_inf: Tensor | None = None

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for params in by_shape.values():
                self._update(params, group)

    def _update(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates: list[Tensor] = []
        finite = (
            torch.ones((), dtype=torch.float32, device=params[0].device)
            if self.found_inf is None
            else 1 - self.found_inf
        )
        for p in params:
            assert p.grad is not None
            average = self.state[p].setdefault("momentum", torch.zeros_like(p))
            grad = torch.where(finite > 0, p.grad, 0)
            average.lerp_(grad, (1 - group["momentum"]) * finite)
            updates.append(grad.lerp(average, group["momentum"]).flatten(1))
        batch = orthogonalise(torch.stack(updates), self.dtype)
        batch *= max(1.0, batch.shape[1] / batch.shape[2]) ** 0.5 * group["lr"] * finite
        for p, update in zip(params, batch, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"] * finite).sub_(update.view(p.shape))


def guard(optimisers: Iterable[torch.optim.Optimizer], finite: Tensor) -> None:
    """Make the next steps conditional on `finite`, a boolean tensor on the device, without synchronisation."""
    for optimiser in optimisers:  # the attribute by which torch.amp controls fused optimisers
        optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]


def average_decay(
    step: int,  # number of previous updates
    decay: float,
    length: float | None,
) -> float:
    """Weight of the previous average in the next: `decay` after a ramp, or, given `length`, a power-function profile.

    `length` is the relative standard deviation of the profile (Karras et al. 2024, EDM2, section 3.1).

    >>> average_decay(10**6, 0.99, None), round(average_decay(99, 0.0, 0.1), 3)
    (0.99, 0.923)
    """
    if length is None:
        return min(decay, (1 + step) / (10 + step))
    return (1 - 1 / (step + 1)) ** (_exponent(length) + 1)


@lru_cache
def _exponent(length: float) -> float:
    """The exponent of the power-function profile with relative standard deviation `length`, a root of a cubic."""
    return float(np.roots([1, 7, 16 - length**-2, 12 - length**-2]).real.max())


def optimisers(
    model: nn.Module, lr: float, muon_lr: float | None, weight_decay: float, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the inner convolutions if `muon_lr` is given; `base` in each group is its base learning rate."""
    inner = {
        id(module.weight)
        for name, module in model.named_modules()
        if muon_lr is not None and isinstance(module, nn.Conv2d) and not name.endswith(("entry", "exit"))
    }
    matrices = [p for p in model.parameters() if id(p) in inner]
    others = [p for p in model.parameters() if id(p) not in inner]
    result: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    ]
    if matrices and muon_lr is not None:
        result.append(Muon(matrices, muon_lr, weight_decay, dtype=dtype))
    for optimiser in result:
        for group in optimiser.param_groups:
            group["base"] = group["lr"]
    return result
