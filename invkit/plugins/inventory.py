"""What is there: the machine, the plugins, and what each name of a recipe can be set to."""

import inspect
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from invkit.core.errors import PluginError, RecipeError
from invkit.core.settings import Settings
from invkit.plugins.registry import KINDS, Origin, Registry, registry, suggest

_LIBRARIES = ("torch", "torchvision", "pydantic", "pluggy", "click", "numpy", "kornia", "torchmetrics", "safetensors")
_LIMITS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "length >=",
    "max_length": "length <=",
}


def doctor_report(own_version: str) -> dict[str, Any]:
    """Versions, devices, cores, memory and plugins of this machine, as plain data."""
    import torch

    gib = 2**30
    cuda = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "invkit": own_version,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _installed(name) for name in _LIBRARIES},
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


def listing(found: Registry) -> dict[str, list[dict[str, str | None]]]:
    """What plugins provide, the core's own included, each with its provider and state (ok, failed, conflict), as plain data."""

    def row(kind: str, name: str, origin: Origin, state: str, why: str | None, summary: str) -> dict[str, str | None]:
        plugin = {"plugin": origin.plugin, "distribution": origin.distribution, "version": origin.version}
        return {"name": name, "kind": kind, **plugin, "state": state, "why": why, "summary": summary}

    rows = [
        row(kind, name, origin, "ok", None, _summary(found.names(kind)[name]))
        for (kind, name), origin in sorted(found.origins.items())
    ]
    for (kind, name), origins in sorted(found.rivals.items()):
        rows += [row(kind, name, origin, "conflict", found.conflict(kind, name), "") for origin in origins]
    for failure in found.failures:
        kind, name = failure.key or ("plugin", failure.origin.plugin)
        rows.append(row(kind, name, failure.origin, "failed", failure.error, ""))
    return {"plugins": rows}


def listing_text(found: dict[str, list[dict[str, str | None]]]) -> str:
    rows = found["plugins"]
    columns = ("name", "kind", "distribution", "version", "state")
    lines = [[*columns, ""], *([*(row[c] or "" for c in columns), row["why"] or row["summary"] or ""] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join([*map(str.ljust, line[:-1], widths), line[-1]]).rstrip() for line in lines)


def descriptions(found: Registry, name: str) -> list[dict[str, Any]]:
    """Everything that bears a name: kind, origin, documentation and settings, as plain data.

    Raises RecipeError for an unknown name, PluginError where a plugin that failed to load may be why.
    """
    described = []
    for kind in KINDS:
        if conflict := found.conflict(kind, name):
            raise PluginError(conflict)
        if cls := found.names(kind).get(name):
            described.append(
                {
                    "kind": kind,
                    "name": name,
                    "from": str(found.origins.get((kind, name), "core")),
                    "documentation": inspect.cleandoc(cls.__doc__ or ""),
                    "settings": [_setting(key, cls) for key in cls.model_fields],
                }
            )
    if described:
        return described
    message = f"unknown name {name!r}{suggest(name, {known for kind in KINDS for known in found.names(kind)})}"
    if found.failures:
        raise PluginError(f"{message}; failed to load: {'; '.join(map(str, found.failures))}")
    raise RecipeError(message)


def description_text(described: list[dict[str, Any]]) -> str:
    lines = []
    for item in described:
        lines += [f"{item['kind']} {item['name']}, from {item['from']}", "", item["documentation"], ""]
        for setting in item["settings"]:
            default = "required" if setting["required"] else f"default {setting['default']}"
            limits = "".join(f", {limit}" for limit in setting["limits"])
            lines.append(f"  {setting['name']}: {setting['type']} ({default}{limits})")
            lines += [f"      {setting['description']}"] if setting["description"] else []
        lines.append("")
    return "\n".join(lines).rstrip()


def _setting(name: str, cls: type[Settings]) -> dict[str, Any]:
    info = cls.model_fields[name]
    default = info.get_default(call_default_factory=True)
    annotation: Any = info.annotation
    plain = isinstance(annotation, type) and not get_args(annotation)
    return {
        "name": name,
        "type": annotation.__name__ if plain else re.sub(r"\b([a-z_]\w*\.)+(?=[A-Z])", "", str(annotation)),
        "required": default is PydanticUndefined,
        "default": None if default is PydanticUndefined else default,
        "limits": [
            f"{said} {getattr(item, key)}"
            for item in info.metadata
            for key, said in _LIMITS.items()
            if hasattr(item, key)
        ],
        "description": info.description,
    }


def _states(found: Registry) -> dict[str, str]:
    states = {str(origin): "loaded" for origin in found.origins.values()}
    return states | {str(failure.origin): failure.error for failure in found.failures}


def _summary(cls: type[Settings]) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
