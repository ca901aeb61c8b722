"""What a degradation cannot do deterministically on CUDA, found out on any machine."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from invkit.core.grid import Grid, as_grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.recipe.recipe import Recipe

REFUSED = frozenset({  # what raises for CUDA tensors: the documentation of torch.use_deterministic_algorithms (torch 2.14)
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "bincount", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "histc", "max_unpool2d", "max_unpool3d",
    "median.dim", "put_", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "upsample_bicubic2d_backward", "upsample_bilinear2d_backward",
    "upsample_linear1d_backward", "upsample_trilinear3d_backward",
})  # fmt: skip


class _Recorder(TorchDispatchMode):
    """Notes the operations that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        # Of integers any order is the same.
        floats = any(isinstance(a, torch.Tensor) and a.is_floating_point() for a in args)
        if floats and not REFUSED.isdisjoint({name, f"{name}.{func._overloadname}"}):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def refused_on_cuda(degradation: Degradation, grid: Grid, seed: int = 0) -> list[str]:
    """Operations of a degradation's draw, and of its operator's maps, that have no deterministic kernel on CUDA, by name.

    They are found by running all of it once on the CPU, for two pictures, and reading which operations torch was asked
    for; with `train.determinism: strict` each would raise on CUDA.
    """
    with _Recorder() as recorder, torch.no_grad():
        operator = degradation.sample(Keys.of(seed, "determinism", range(2)), grid)
        y = operator.forward(torch.ones(2, *grid.picture))
        operator.adjoint(y)
        operator.pinv(y)
    return sorted(recorder.seen)


def warn_of_strictness(recipe: Recipe) -> None:
    """Warn of a recipe with `train.determinism: strict` whose degradation cannot be that on CUDA."""
    if recipe.train.determinism != "strict":
        return
    grid = as_grid(recipe.train.grids[0], recipe.data.channels)
    for named, law in recipe.degradation.table_rows():
        if refused := refused_on_cuda(law, grid, recipe.seed):
            warnings.warn(
                f"degradation {recipe.registry.name_of(named)}: {', '.join(refused)} has no deterministic kernel on CUDA, where "
                "train.determinism=strict would stop; it runs on a CPU, or with train.determinism=fast",
                stacklevel=2,
            )
