"""Device, precision and determinism, decided in one place."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, TypeVar

import torch

from invkit.core.errors import RecipeError

M = TypeVar("M", bound=torch.nn.Module)
Precision = Literal["auto", "bf16", "float32"]


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; there float32 is float32 from then on: TF32 would ruin kriging."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise RecipeError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    return torch.device(name)


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fast_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """What products that bear rounding are computed in: bfloat16 where asked for, or where the device is fast at it."""
    on = precision == "bf16" or (precision == "auto" and _fast_bf16(device))
    return torch.bfloat16 if on else torch.float32


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Mixed precision for the network."""
    on = fast_dtype(device, precision) == torch.bfloat16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def place(model: M, device: torch.device) -> M:
    """Move a model to a device, in place, its convolutions in the layout that is fastest there."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):  # spectral weights of five axes have no such layout
            module.to(memory_format=torch.channels_last)
    return model.to(device)


def set_determinism(strict: bool) -> None:
    """Ask torch for deterministic kernels; on CUDA an operation without one raises, naming itself."""
    if strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(strict)
    torch.backends.cudnn.benchmark = not strict


_awaited: torch.device | None = None  # by every span, see `awaiting`


@contextmanager
def span(name: str) -> Iterator[None]:
    """A named part of a step, for `invkit run --profile`."""
    with torch.profiler.record_function(f"invkit/{name}"):
        yield
        if _awaited is not None:
            synchronise(_awaited)


@contextmanager
def awaiting(device: torch.device) -> Iterator[None]:
    """Within, a span lasts until the device has done its work, whichever thread asked for it."""
    global _awaited
    _awaited = device
    try:
        yield
    finally:
        _awaited = None


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that a clock read now is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
