"""Arithmetic operations of a function, counted; unlike a time, the count is the same on every machine and under any load."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

CALL = 4096  # operations that any call counts as at least: about the time that torch takes to start one


class _Counter(TorchDispatchMode):
    """Counts products and convolutions as torch does, a Fourier transform of n values as 5 n log2 n / 2, others by their values."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        values = max((t.numel() for t in tree_leaves((args, result)) if isinstance(t, Tensor)), default=0)
        if packet in flop_registry:
            count = float(flop_registry[packet](*args, **(kwargs or {}), out_val=result))
        elif packet.__name__.startswith("_fft"):
            side = math.prod(args[0].shape[axis] for axis in args[1])
            count = 2.5 * values * math.log2(max(side, 2))
        else:
            count = 0.0 if func.is_view else values
        self.operations += max(count, CALL)
        return result


def operations(work: Callable[[], object]) -> float:
    """The number of arithmetic operations that torch carries out in `work`; those of other libraries are not counted.

    >>> import torch
    >>> operations(lambda: torch.ones(100, 100) @ torch.ones(100, 100))
    2020000.0
    """
    with _Counter() as counter:
        work()
    return counter.operations
