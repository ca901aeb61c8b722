"""Muon for matrices and convolutions, beside torch's AdamW for everything else."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # maps singular values into about [0.7, 1.2] in five steps


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly, by five quintic Newton-Schulz steps in bfloat16."""
    a, b, c = _QUINTIC
    x = matrix.bfloat16()
    x = x.mT if len(matrix) > matrix.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if len(matrix) > matrix.shape[1] else x).to(matrix)


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is orthogonalised (Jordan et al. 2024, Muon); kernels count as matrices (out, rest)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(average, group["momentum"]).flatten(1)
                update = orthogonalise(update) * max(1.0, len(update) / update.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(p), alpha=-group["lr"])


def optimisers(model: nn.Module, lr: float, muon_lr: float | None, weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the inner convolutions where `muon_lr` is given; `base` in each group is its own rate."""
    inner = {
        id(module.weight)
        for name, module in model.named_modules()
        if muon_lr is not None and isinstance(module, nn.Conv2d) and not name.endswith(("entry", "exit"))
    }
    matrices = [p for p in model.parameters() if id(p) in inner]
    others = [p for p in model.parameters() if id(p) not in inner]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    ]
    if matrices and muon_lr is not None:
        made.append(Muon(matrices, muon_lr, weight_decay))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["base"] = group["lr"]
    return made
