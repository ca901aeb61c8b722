"""Device, precision and determinism."""

import os
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.spans import arrived

M = TypeVar("M", bound=torch.nn.Module)
Precision = Literal["auto", "bf16", "float32"]


def pick_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is CUDA if available. On CUDA this disables TF32, which is too coarse for kriging."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise RecipeError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    return torch.device(name)


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fast_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The dtype for products that tolerate rounding: bfloat16 if requested, or with `auto` if the device supports it well."""
    on = precision == "bf16" or (precision == "auto" and _fast_bf16(device))
    return torch.bfloat16 if on else torch.float32


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Autocast context for the network: bfloat16, or disabled; see `fast_dtype`."""
    on = fast_dtype(device, precision) == torch.bfloat16
    # each weight is used once; a cache of converted weights would not survive the capture of a CUDA graph
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on, cache_enabled=False)


def place(model: M, device: torch.device) -> M:
    """Move a model to a device in place, with its 2-D convolutions in channels-last layout, the fastest one."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):  # five-dimensional spectral weights do not support it
            module.to(memory_format=torch.channels_last)
    return model.to(device)


def cells_at_once(device: torch.device) -> int:
    """Largest number of grid cells in the network at once: 256 images of 32x32, and as many again for each 8 GiB of a GPU."""
    parts = 1 if device.type != "cuda" else torch.cuda.get_device_properties(device).total_memory >> 33
    return (1 << 18) * min(16, max(1, parts))


def set_determinism(strict: bool) -> None:
    """With `strict`, use deterministic kernels only; on CUDA an operation without one raises an error that names it."""
    if strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if strict != torch.are_deterministic_algorithms_enabled():  # the call imports the compiler: seconds
        torch.use_deterministic_algorithms(strict)
    torch.backends.cudnn.benchmark = not strict


def send(x: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; the host does not wait for the copy, so a tensor of the host must not be changed afterwards."""
    return arrived(x.to(device, non_blocking=True))


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its queued work, so that timings are correct."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
