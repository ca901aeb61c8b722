"""`invkit doctor`: versions, device and plugins."""

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from invkit import __version__
from invkit.cli.options import echo, json_output
from invkit.plugins.entry_points import version_of

if TYPE_CHECKING:  # this imports torch, which takes seconds
    from invkit.plugins.registry import Registry

_LIBRARIES = ("torch", "torchvision", "pydantic", "pluggy", "click", "numpy", "kornia", "torchmetrics", "safetensors")


@click.command()
@json_output
def doctor(as_json: bool) -> None:
    """Print versions, devices, memory and the state of every plugin."""
    report = doctor_report(__version__)
    echo(report if as_json else doctor_text(report))


def doctor_report(own_version: str) -> dict[str, Any]:
    """Versions, devices, cores, memory and plugins of this machine, as plain data."""
    import torch

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
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / gib, 1),
        "plugins": _states(registry()),
    }


def doctor_text(report: dict[str, Any]) -> str:
    lines = [f"{key:<12} {value}" for key, value in report.items() if not isinstance(value, dict | list)]
    lines += [f"{key:<12} {value or 'not installed'}" for key, value in report["libraries"].items()]
    lines += [f"{'cuda':<12} {device['name']}, {device['memory_gib']} GiB" for device in report["cuda"]]
    lines += [f"{'plugin':<12} {plugin}: {state}" for plugin, state in report["plugins"].items()]
    return "\n".join(lines)


def _states(found: "Registry") -> dict[str, str]:
    states = {str(origin): "loaded" for origin in found.origins.values()}
    return states | {str(failure.origin): failure.error for failure in found.failures}
