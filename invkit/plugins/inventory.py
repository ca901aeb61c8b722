"""Listings and descriptions of the implementations in a registry."""

import inspect
import re
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.core.settings import Settings
from invkit.plugins.registry import KINDS, Origin, Registry

_LIMITS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "length >=",
    "max_length": "length <=",
}


def listing(found: Registry) -> dict[str, list[dict[str, str | None]]]:
    """All implementations with provider and state (ok, failed, conflict), and failed plugins, as plain data."""

    def row(kind: str, name: str, origin: Origin, state: str, why: str | None, summary: str) -> dict[str, str | None]:
        plugin = {"plugin": origin.plugin, "distribution": origin.distribution, "version": origin.version}
        return {"name": name, "kind": kind, **plugin, "state": state, "why": why, "summary": summary}

    rows = [
        row(kind, name, origin, "ok", None, _summary(found.names(kind)[name]))
        for (kind, name), origin in sorted(found.origins.items())
    ]
    for (kind, name), origins in sorted(found.duplicates.items()):
        rows += [row(kind, name, origin, "conflict", found.conflict(kind, name), "") for origin in origins]
    for failure in found.failures:
        kind, name = failure.key or ("plugin", failure.origin.plugin)
        rows.append(row(kind, name, failure.origin, "failed", failure.error, ""))
    return {"plugins": rows}


def listing_text(found: dict[str, list[dict[str, str | None]]]) -> str:
    """The result of `listing` as a text table."""
    rows = found["plugins"]
    columns = ("name", "kind", "distribution", "version", "state")
    lines = [[*columns, ""], *([*(row[c] or "" for c in columns), row["why"] or row["summary"] or ""] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join([*map(str.ljust, line[:-1], widths), line[-1]]).rstrip() for line in lines)


def descriptions(found: Registry, name: str) -> list[dict[str, Any]]:
    """Kind, origin, documentation and settings of each implementation with a name, as plain data.

    Raises RecipeError for an unknown name; PluginError if several plugins of one kind provide it, or if a plugin that
    failed to load may be the cause.
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
                    "settings": [setting(key, cls) for key in cls.model_fields],
                }
            )
    if described:
        return described
    message = f"unknown name {name!r}{suggest(name, {known for kind in KINDS for known in found.names(kind)})}"
    message += "; `invkit plugins` lists all names"
    if found.failures:
        raise PluginError(f"{message}; failed to load: {'; '.join(map(str, found.failures))}")
    raise RecipeError(message)


def description_text(described: list[dict[str, Any]]) -> str:
    """The result of `descriptions` as text."""
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


def setting(name: str, cls: type[Settings]) -> dict[str, Any]:
    """Type, default, limits and description of one setting, as plain data."""
    info = cls.model_fields[name]
    default = info.get_default(call_default_factory=True)
    return {
        "name": name,
        "type": _type_name(info.annotation),
        "required": default is PydanticUndefined,
        "default": None if default is PydanticUndefined else default,
        "limits": [
            f"{symbol} {getattr(item, key)}"
            for item in info.metadata
            for key, symbol in _LIMITS.items()
            if hasattr(item, key)
        ],
        "description": info.description,
    }


def _type_name(annotation: Any) -> str:
    """A type as in a docstring, without modules and validators."""
    if hasattr(annotation, "__metadata__"):
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type_name, get_args(annotation)))
    if annotation is NoneType:
        return "None"
    plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if plain else re.sub(r"\b([a-z_]\w*\.)+(?=[A-Z])", "", str(annotation))


def _summary(cls: type[Settings]) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]
