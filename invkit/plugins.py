"""Loads plugins, one at a time, and knows every implementation that a recipe can name."""

import contextlib
import functools
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pluggy

from invkit import hookspecs
from invkit.data.base import Dataset
from invkit.degradation import Degradation
from invkit.errors import PluginError, RecipeError
from invkit.hookspecs import hookimpl
from invkit.settings import Settings

HOOKS: dict[str, tuple[str, type[Settings]]] = {
    "invkit_datasets": ("dataset", Dataset),
    "invkit_degradations": ("degradation", Degradation),
}
_CORE = {  # what no plugin provides yet: kind -> where its table stands
    "network": ("invkit.nn", "NETWORKS"),
    "field": ("invkit.diffusion", "FIELDS"),
    "schedule": ("invkit.diffusion", "SCHEDULES"),
    "preconditioning": ("invkit.diffusion", "PRECONDITIONINGS"),
    "sampler": ("invkit.diffusion", "SAMPLERS"),
    "method": ("invkit.evaluation", "METHODS"),
    "metric": ("invkit.metrics", "METRICS"),
}
KINDS = (*(kind for kind, _ in HOOKS.values()), *_CORE)


@hookimpl
def invkit_datasets() -> Mapping[str, type[Dataset]]:
    """The core's own data sets."""
    from invkit.data.cifar10 import Cifar10
    from invkit.data.fields import Fields
    from invkit.data.images import Pictures
    from invkit.data.photos import Photos

    return {"photos": Photos, "cifar10": Cifar10, "images": Pictures, "fields": Fields}


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    """The core's own degradations: those made of others."""
    from invkit.compose import Compose, Mixture

    return {"compose": Compose, "mixture": Mixture}


@dataclass(frozen=True)
class Origin:
    """The plugin that provides something, and the distribution it came in."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})".replace(" )", ")")


@dataclass(frozen=True)
class Failure:
    """A plugin, or a part of one, that could not be used."""

    plugin: str
    distribution: str
    error: str  # one line

    def __str__(self) -> str:
        return f"plugin {self.plugin} ({self.distribution}): {self.error}"


@dataclass(frozen=True)
class Registry:
    """Everything a recipe can name, where it came from, and what could not be loaded."""

    degradations: Mapping[str, type[Degradation]]
    datasets: Mapping[str, type[Dataset]]
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict)  # (kind, name) -> its provider
    failures: tuple[Failure, ...] = ()
    conflicts: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (kind, name) -> what to say of it

    def names(self, kind: str) -> Mapping[str, type[Settings]]:
        """The implementations of a kind (one of `KINDS`), by their names."""
        if kind in _CORE:
            module, table = _CORE[kind]
            return getattr(import_module(module), table)
        return {"degradation": self.degradations, "dataset": self.datasets}[kind]

    def get(self, kind: str, name: str) -> type[Settings]:
        """The settings class of a name.

        Raises RecipeError for an unknown name, PluginError where a plugin that failed to load may be why.
        """
        if (kind, name) in self.conflicts:
            raise PluginError(self.conflicts[kind, name])
        names = self.names(kind)
        if name in names:
            return names[name]
        message = f"unknown {kind} {name!r}{suggest(name, names)}"
        if self.failures and kind not in _CORE:
            raise PluginError(f"{message}; failed to load: {'; '.join(map(str, self.failures))}")
        raise RecipeError(message)

    def name_of(self, settings: Settings) -> str | None:
        """The name under which the class of some settings is registered, None for a plain section."""
        found = (name for kind in KINDS for name, cls in self.names(kind).items() if cls is type(settings))
        return next(found, None)


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all where none is near."""
    known = list(known)
    if near := get_close_matches(word, known, 1):
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(sorted(known)) or 'none'})"


@functools.cache
def registry(files: tuple[str, ...] = ()) -> Registry:
    """The registry of the core, the installed plugins and some one-off plugin files; built once a process."""
    return load(entry_points(group="invkit"), files)


def load(entries: Iterable[EntryPoint], files: Iterable[str] = ()) -> Registry:
    """Load the core, the entry points that `INVKIT_PLUGINS` allows, and plugin files.

    Whatever an entry point does wrong is recorded in `failures`; a file that fails raises PluginError.
    """
    loader = _Loader()
    loader.add(Origin("core", "invkit", _version("invkit")), lambda: sys.modules[__name__])
    entries = list(entries)
    allowed = os.environ.get("INVKIT_PLUGINS")
    wanted = None if allowed is None else {name.strip() for name in allowed.split(",")} - {""}
    for absent in sorted((wanted or set()) - {entry.name for entry in entries}):
        near = suggest(absent, {entry.name for entry in entries})
        loader.fail(Origin(absent, "INVKIT_PLUGINS", ""), f"no such plugin is installed{near}")
    for entry in entries:
        if wanted is None or entry.name in wanted:
            dist = entry.dist
            origin = Origin(entry.name, dist.name if dist else "unknown", dist.version if dist else "")
            loader.add(origin, entry.load)
    for file in files:
        before = len(loader.failures)
        loader.add(Origin(Path(file).stem, file, ""), functools.partial(_load_file, file))
        if errors := loader.failures[before:]:
            raise PluginError("; ".join(map(str, errors)))
    return loader.registry()


class _Loader:
    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("invkit")
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self.found: dict[tuple[str, str], list[tuple[Origin, type[Settings]]]] = {}

    def fail(self, origin: Origin, error: str) -> None:
        self.failures.append(Failure(origin.plugin, str(origin.distribution), error))

    @contextlib.contextmanager
    def _guard(self, origin: Origin, doing: str = "") -> Iterator[None]:
        """Records whatever goes wrong; what a plugin prints must not mix with results on stdout."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except (Exception, SystemExit) as error:
            first = (str(error).strip().splitlines() or [""])[0]
            self.fail(origin, f"{doing}{type(error).__name__}: {first}".removesuffix(": "))

    def add(self, origin: Origin, get: Callable[[], Any]) -> None:
        """Load one plugin and take what its hooks provide."""
        with self._guard(origin):
            plugin = get()
            self._check_hooks(plugin, origin)
            self.manager.register(plugin, f"{origin.plugin} of {origin.distribution}")
            for caller in self.manager.get_hookcallers(plugin) or ():
                for impl in caller.get_hookimpls():
                    if impl.plugin is plugin and caller.name in HOOKS:
                        with self._guard(origin, f"{caller.name}(): "):
                            self._take(caller.name, impl.function(), origin)

    def _check_hooks(self, plugin: Any, origin: Origin) -> None:
        for name, value in inspect.getmembers(plugin, inspect.isroutine):
            if name.startswith("invkit_") and name not in HOOKS:
                self.fail(origin, f"there is no hook {name}{suggest(name, HOOKS)}")
            elif name in HOOKS and not hasattr(value, "invkit_impl"):
                self.fail(origin, f"{name} is not marked; write @hookimpl above it")

    def _take(self, hook: str, provided: object, origin: Origin) -> None:
        kind, base = HOOKS[hook]
        if not isinstance(provided, Mapping):
            raise TypeError(f"has to return a mapping of names to classes, got {type(provided).__name__}")
        for name, cls in provided.items():
            taken = {c for (k, n), providers in self.found.items() if k == kind and n != name for _, c in providers}
            if fault := _fault(name, cls, base) or (cls in taken and "is registered under another name already"):
                self.fail(origin, f"{hook}(): {name!r}: {fault}")
            else:
                self.found.setdefault((kind, name), []).append((origin, cls))

    def registry(self) -> Registry:
        single = {key: providers[0] for key, providers in self.found.items() if len(providers) == 1}
        conflicts = {
            (kind, name): f"the {kind} {name!r} is provided by both {' and '.join(str(o) for o, _ in providers)}; "
            "uninstall one of them, or choose plugins with INVKIT_PLUGINS"
            for (kind, name), providers in self.found.items()
            if len(providers) > 1
        }

        def of(wanted: str) -> Mapping[str, Any]:
            return MappingProxyType({name: cls for (kind, name), (_, cls) in single.items() if kind == wanted})

        origins = MappingProxyType({key: origin for key, (origin, _) in single.items()})
        return Registry(of("degradation"), of("dataset"), origins, tuple(self.failures), MappingProxyType(conflicts))


def _fault(name: object, cls: object, base: type[Settings]) -> str | None:
    """Why a class cannot be registered under a name."""
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", name)):
        return "a name is made of lower-case letters, digits and single hyphens"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"has to be a subclass of {base.__name__}, got {cls!r}"
    if inspect.isabstract(cls):
        return f"{cls.__name__} does not define {', '.join(sorted(cls.__abstractmethods__))}"
    changed = [key for key in ("frozen", "strict", "extra") if cls.model_config.get(key) != base.model_config.get(key)]
    if changed:
        return f"{cls.__name__} changes {', '.join(changed)} in its model_config, which is fixed"
    if "name" in cls.model_fields:
        return f"{cls.__name__} has a field 'name', which in a recipe names the implementation"
    return None


def _load_file(file: str) -> Any:
    path = Path(file)
    module_name = "invkit_file_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError("a plugin file is a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # annotations are resolved through it
    spec.loader.exec_module(module)
    return module


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
