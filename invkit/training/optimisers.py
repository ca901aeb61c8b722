"""Optimisers: Muon for convolutions, torch's AdamW for all other parameters; averaging of the weights."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # five steps map singular values to about [0.7, 1.2]
_ROUNDS = (2, 3)  # steps between two computations of the Gram matrices; more would amplify their rounding errors


def orthogonalise(batches: Sequence[Tensor]) -> list[Tensor]:
    """Approximate the nearest semi-orthogonal matrices by five quintic Newton-Schulz steps.

    The matrices (n, rows, columns) of all batches have smaller sides of one size. A step `x <- (a + b G + c G^2) x`, `G = x x^T`,
    multiplies G by the same polynomial from both sides, so that all batches take their steps together, with the small matrices G.
    """
    a, b, c = _QUINTIC
    norm: Tensor | None = None
    for steps in _ROUNDS:
        gram = torch.cat([torch.bmm(x.mT, x) if _tall(x) else torch.bmm(x, x.mT) for x in batches])
        if norm is None:  # the Frobenius norm
            norm = (gram.diagonal(dim1=1, dim2=2).sum(1).sqrt() + 1e-7)[:, None, None]
            gram, total = gram / norm.square(), 1 / norm
        else:
            total = torch.ones_like(norm)
        for i in range(steps):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            total = torch.bmm(factor, total) if i else factor * total
            if i + 1 < steps:
                gram = torch.bmm(torch.bmm(factor, gram), factor)
        parts = total.split([len(x) for x in batches])
        batches = [torch.bmm(x, p) if _tall(x) else torch.bmm(p, x) for x, p in zip(batches, parts, strict=True)]
    return list(batches)


def _tall(x: Tensor) -> bool:
    return x.shape[1] > x.shape[2]


class _Kernels:
    """Tensors of the sizes of parameters in one flat tensor, and as batches of matrices (out, rest) of equal shape."""

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        self.flat = torch.zeros(sum(p.numel() for p in params), dtype=torch.float32, device=params[0].device)
        self.views: list[Tensor] = []  # with the memory layout of the parameter, which foreach operations want
        self.batches: dict[int, list[Tensor]] = {}  # by the smaller side of the matrices
        start = 0
        for (out, rest), equal in groupby(params, _sides):
            first, count = start, 0
            for p in equal:
                self.views.append(self.flat[start : start + p.numel()].as_strided(p.shape, p.stride(), start))
                start, count = start + p.numel(), count + 1
            self.batches.setdefault(min(out, rest), []).append(self.flat[first:start].view(count, out, rest))


def _sides(p: Tensor) -> tuple[int, int]:
    return p.shape[0], p[0].numel()


class Muon(torch.optim.Optimizer):
    """Muon: momentum with orthogonalised updates (Jordan et al. 2024); kernels are matrices (out, rest), in the order of memory.

    All kernels are updated together, in float32. As with torch's fused optimisers, a step changes nothing if the tensor `found_inf`
    is one.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._kernels: list[
            tuple[list[nn.Parameter], _Kernels, _Kernels]
        ] = []  # of each group: momentum, and work space

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if not self._kernels:
            for group in self.param_groups:
                params = sorted(group["params"], key=_sides)
                self._kernels.append((params, _Kernels(params), _Kernels(params)))
        for group, (params, momentum, work) in zip(self.param_groups, self._kernels, strict=True):
            for p, view in zip(params, momentum.views, strict=True):
                if (own := self.state[p].get("momentum", view)) is not view:  # from a checkpoint
                    view.copy_(own)
                self.state[p]["momentum"] = view
            self._update(params, momentum, work, group)

    def _update(self, params: list[nn.Parameter], momentum: _Kernels, work: _Kernels, group: dict[str, Any]) -> None:
        lr, failed = group["lr"], self.found_inf
        finite = torch.ones((), dtype=torch.float32, device=params[0].device) if failed is None else 1 - failed
        torch._foreach_copy_(work.views, [p.grad for p in params if p.grad is not None])
        work.flat.masked_fill_(finite == 0, 0)
        momentum.flat.lerp_(work.flat, (1 - group["momentum"]) * finite)
        work.flat.lerp_(momentum.flat, group["momentum"])
        for batches in work.batches.values():
            for x, update in zip(batches, orthogonalise(batches), strict=True):
                torch.mul(update, max(1.0, x.shape[1] / x.shape[2]) ** 0.5 * finite, out=x)
        torch._foreach_mul_([*params], 1 - lr * group["weight_decay"] * finite)
        torch._foreach_sub_([*params], work.views, alpha=lr)


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


def optimisers(model: nn.Module, lr: float, muon_lr: float | None, weight_decay: float) -> list[torch.optim.Optimizer]:
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
        result.append(Muon(matrices, muon_lr, weight_decay))
    for optimiser in result:
        for group in optimiser.param_groups:
            group["base"] = group["lr"]
    return result
