"""`invkit doctor`: versions, devices, speed, disk and plugins."""

import os
import platform
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from invkit import __version__
from invkit.cli.options import json_output, print_result
from invkit.plugins.entry_points import version_of

if TYPE_CHECKING:  # imports torch, which takes seconds
    from invkit.plugins.registry import Registry

_LIBRARIES = ("torch", "torchvision", "pydantic", "pluggy", "click", "numpy", "kornia", "torchmetrics", "safetensors")


@click.command()
@json_output
def doctor(as_json: bool) -> None:
    """Print versions, devices, memory, disk, plugins, and how long a training would take on this CPU."""
    report = doctor_report(__version__)
    print_result(report if as_json else doctor_text(report))


def doctor_report(own_version: str) -> dict[str, Any]:
    """Versions, devices, cores, memory, disk, speed and plugins of this machine, as JSON-compatible data."""
    import torch

    from invkit.core.device import fast_dtype
    from invkit.plugins.loader import registry

    gib = 2**30
    cuda = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "invkit": own_version,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
        "device": "cuda" if cuda else "cpu",
        "cuda": [{"name": device.name, "memory_gib": round(device.total_memory / gib, 1)} for device in cuda],
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "products": str(fast_dtype(torch.device("cuda" if cuda else "cpu"), "auto")).removeprefix("torch."),
        "speed": f"{(speed := _convolutions()):.0f} GFLOP/s on the CPU: the quick start trains in about {minutes(speed)}",
        "slow": None if cuda else "no GPU: take recipes that end in _cpu or begin with photos_; others train for days",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / gib, 1),
        "disk_free_gib": round(shutil.disk_usage(os.curdir).free / gib, 1),
        "plugins": _plugin_states(registry()),
    }


def doctor_text(report: dict[str, Any]) -> str:
    """The report as text, one entry per line."""
    lines = [f"{key:<12} {value}" for key, value in report.items() if not isinstance(value, dict | list | None)]
    lines += [f"{key:<12} {value or 'not installed'}" for key, value in report["libraries"].items()]
    lines += [f"{'cuda':<12} {device['name']}, {device['memory_gib']} GiB" for device in report["cuda"]]
    lines += [f"{'plugin':<12} {plugin}: {state}" for plugin, state in report["plugins"].items()]
    return "\n".join(lines)


def _convolutions(seconds: float = 0.3) -> float:
    """10^9 operations per second in the convolutions of the quick start's network, float32."""
    import torch
    import torch.nn.functional as F

    x = torch.zeros(32, 48, 16, 16).contiguous(memory_format=torch.channels_last)
    kernel, counts, start = torch.zeros(48, 48, 3, 3), -2, 0.0  # two calls first
    while counts < 1 or time.perf_counter() - start < seconds:
        if counts == 0:
            start = time.perf_counter()
        F.conv2d(x, kernel, padding=1)
        counts += 1
    return 2 * x.numel() * kernel.numel() / 48 * counts / (time.perf_counter() - start) / 1e9


def minutes(speed: float) -> str:
    """Duration of the quick start's training, 22,400 images, which take 36 per second at 84 GFLOP/s in its convolutions."""
    from invkit.core.progress import duration

    return duration(22_400 / 36 * 84 / speed)


def _plugin_states(registry: "Registry") -> dict[str, str]:
    states = {str(origin): "loaded" for origin in registry.origins.values()}
    return states | {str(failure.origin): failure.error for failure in registry.failures}
