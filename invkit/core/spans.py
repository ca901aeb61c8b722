"""Named parts of a computation, and what each takes: time, tensor operations, and waits of the host for the device."""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

PACKAGE = str(Path(__file__).parents[1])
REST = "rest"  # what is in no span


class Recorder(ABC):
    """While it is entered, it records what happens in each span, without the spans within."""

    def __init__(self) -> None:
        self.open = [REST]

    @abstractmethod
    def turn(self) -> None:
        """Called before a span begins and before it ends."""

    def __enter__(self) -> Self:
        global _recorder
        _recorder = self
        return self

    def __exit__(self, *_: object) -> None:
        global _recorder
        self.turn()
        _recorder = None


_recorder: Recorder | None = None


@contextmanager
def span(name: str) -> Iterator[None]:
    """Mark a named part of a computation, for `invkit run --profile`."""
    if (recorder := _recorder) is None:
        yield
        return
    recorder.turn()
    recorder.open.append(name)
    try:
        yield
    finally:
        recorder.turn()
        recorder.open.pop()


class Clock(Recorder):
    """The seconds of each span; `wait` returns when the device has finished its work, whichever thread launched it."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self.wait, self._last = wait, 0.0
        self.seconds: dict[str, float] = defaultdict(float)

    def __enter__(self) -> Self:
        self.wait()
        self._last = time.perf_counter()
        return super().__enter__()

    def turn(self) -> None:
        self.wait()
        now = time.perf_counter()
        self.seconds[self.open[-1]] += now - self._last
        self._last = now


class Counts(Recorder):
    """The tensor operations of each span, without views, and the places that wait for the device.

    On a CPU nothing waits. There a tensor counts as on the device if it was sent there (`arrived`), or computed from one that was;
    what reads its values, or has a result whose size depends on them, counts as a wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.waits = Counter[str](), Counter[tuple[str, str]]()  # of spans; of spans and lines of code
        self._modes = _Operations(self), _Reads(self)
        self._marked = WeakIdKeyDictionary()

    def turn(self) -> None:
        pass

    def __enter__(self) -> Self:
        for mode in self._modes:
            mode.__enter__()
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        for mode in reversed(self._modes):
            mode.__exit__(*details)

    def on_device(self, x: object) -> bool:
        return isinstance(x, Tensor) and (x.device.type != "cpu" or x in self._marked)

    def mark(self, *tensors: object) -> None:
        """Count tensors as on the device."""
        for x in tensors:
            if isinstance(x, Tensor):
                self._marked[x] = True

    def waited(self) -> None:
        """Record a wait at the innermost line of this package."""
        frame = sys._getframe(1)
        while frame.f_back and not (
            frame.f_code.co_filename.startswith(PACKAGE) and frame.f_code.co_filename != __file__
        ):
            frame = frame.f_back
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self.waits[self.open[-1], place] += 1


def arrived(x: Tensor) -> Tensor:
    """`x`, which is now on the device where the model is: marked as such where operations are counted."""
    if isinstance(_recorder, Counts):
        x = x.view_as(x)  # the tensor itself may also be used by the host
        _recorder.mark(x)
    return x


aten = torch.ops.aten
READS = {  # operations that read values, or whose result has a size that depends on them
    aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim,
    aten.unique_consecutive, aten._linalg_check_errors, aten._linalg_eigh, aten._linalg_svd, aten.cholesky_inverse,
}  # fmt: skip
READERS = {Tensor.tolist, Tensor.cpu, Tensor.numpy}
INDEXED = {aten.index, aten.index_put, aten.index_put_}  # by booleans too


class _Operations(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counts, leaves = self.counts, tree_leaves((args, kwargs or {}))
        if not _is_view(func) and func.namespace != "profiler":
            counts.operations[counts.open[-1]] += 1
        result = func(*args, **(kwargs or {}))
        if any(map(counts.on_device, leaves)):
            counts.mark(*tree_leaves(result))
            if func.overloadpacket in READS or _by_boolean(func, args) or _to_host(leaves, result):
                counts.waited()
        return result


@cache
def _is_view(func: Any) -> bool:
    returned = (r.alias_info for r in func._schema.returns)
    return any(alias is not None and not alias.is_write for alias in returned)


def _by_boolean(func: Any, args: Any) -> bool:
    return func.overloadpacket in INDEXED and any(i is not None and i.dtype == torch.bool for i in args[1])


def _to_host(leaves: list[Any], result: Any) -> bool:
    """Whether values were copied from a device to the host."""
    return (
        isinstance(result, Tensor)
        and result.device.type == "cpu"
        and any(isinstance(x, Tensor) and x.device.type != "cpu" for x in leaves)
    )


class _Reads(TorchFunctionMode):
    """Calls that read a tensor, which on a CPU are no operations."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READERS and args[0].device.type == "cpu" and self.counts.on_device(args[0]):
            self.counts.waited()
        return func(*args, **(kwargs or {}))
