"""What results depend on besides settings and weights: the code of plugins by digest, versions, device and commit."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invkit.core.settings import Settings
from invkit.plugins.registry import Origin
from invkit.recipe.recipe import Recipe

TABLE_ONLY = ("metric", "method", "prior", "sampler")  # kinds that a training does not depend on


def plugin_code(recipe: Recipe) -> dict[str, str]:
    """Version and SHA-256 of the code of each plugin that a recipe uses, by kind and name; nothing for invkit's own.

    The code is the plugin file, or all modules of an installed package, whose version may stay while it is edited.
    """
    found = {
        f"{settings.kind} {name}": _described(origin, type(settings), recipe.registry.files)
        for settings, name, origin in _implementations(recipe)
        if origin.distribution != "invkit"
    }
    return dict(sorted(found.items()))


def _implementations(recipe: Recipe) -> Iterator[tuple[Settings, str, Origin]]:
    """The settings within a recipe that have a provider, with their names."""
    for settings in _settings(recipe):
        name = recipe.registry.name_of(settings)
        origin = recipe.registry.origins.get((getattr(settings, "kind", ""), name or ""))
        if name and origin:
            yield settings, name, origin


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two results of `plugin_code`, one text for each name that both contain."""
    return [
        f"the {name} ({before[name]}, now {now[name]})"
        for name in before
        if before[name] != now.get(name, before[name])
    ]


def _settings(node: Any) -> Iterator[Settings]:
    """All settings within a recipe."""
    children: Iterator[Any]
    if isinstance(node, Settings):
        yield node
        children = (getattr(node, name) for name in type(node).model_fields)
    elif isinstance(node, Mapping):
        children = iter(node.values())
    elif isinstance(node, list | tuple):
        children = iter(node)
    else:
        return
    for child in children:
        yield from _settings(child)


def _described(origin: Origin, cls: type, files: Mapping[str, str]) -> str:
    if digest := files.get(origin.distribution):
        return f"{Path(origin.distribution).name} {digest[:16]}"
    return f"{origin.distribution} {origin.version} {_package_sha256(cls)[:16]}"


def _package_sha256(cls: type) -> str:
    """SHA-256 of the Python files of the top-level package, or of the single module, in which a class is defined."""
    module = sys.modules[cls.__module__.partition(".")[0]]
    paths = [Path(file) for file in [module.__file__] if file]
    for folder in getattr(module, "__path__", ()):
        paths += sorted(Path(folder).rglob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def environment(recipe: Recipe, device: str) -> dict[str, Any]:
    """What is needed to reproduce a run: versions, plugins, seed, device, commit. No environment variables."""
    from importlib.metadata import version

    plugins = {
        f"{settings.kind} {name}": str(origin) for settings, name, origin in _implementations(recipe) if not origin.core
    }
    packages = ("invkit", "torch", "torchvision", "torchmetrics", "kornia", "numpy", "pillow")
    return {
        "seed": recipe.seed,
        "training_seed": recipe.training_seed,
        "device": device,
        "plugins": dict(sorted(plugins.items())),
        "plugin_code": plugin_code(recipe),
        "plugin_files": {Path(file).name: digest for file, digest in recipe.registry.files.items()},  # SHA-256
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The git commit of invkit's source tree; None if it does not run from one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", os.fspath(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
