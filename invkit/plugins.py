"""Loads plugins, one at a time, and knows every implementation that a recipe can name."""

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import pluggy
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from invkit import hookspecs, installed
from invkit.data.base import Dataset
from invkit.degradation import Degradation
from invkit.diffusion import FIELDS, PRECONDITIONINGS, SAMPLERS, SCHEDULES
from invkit.errors import PluginError, RecipeError
from invkit.hookspecs import hookimpl
from invkit.metrics import METRICS, Metric
from invkit.nn import NETWORKS
from invkit.reconstruct import METHODS, Method
from invkit.settings import Settings

HOOKS: dict[str, type[Settings]] = {  # hook -> the base of what it provides
    "invkit_datasets": Dataset,
    "invkit_degradations": Degradation,
    "invkit_metrics": Metric,
    "invkit_reconstructors": Method,
}
CORE: dict[str, Mapping[str, type[Settings]]] = {  # the kinds that no plugin provides yet
    "network": NETWORKS,
    "field": FIELDS,
    "schedule": SCHEDULES,
    "preconditioning": PRECONDITIONINGS,
    "sampler": SAMPLERS,
}
KINDS = (*(base.kind for base in HOOKS.values()), *CORE)


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
    """The core's own degradations: those made of others, and the one that observes nothing."""
    from invkit.compose import Compose, Mixture
    from invkit.nothing import Nothing

    return {"compose": Compose, "mixture": Mixture, "nothing": Nothing}


@hookimpl
def invkit_metrics() -> Mapping[str, type[Metric]]:
    """The core's own metrics."""
    return METRICS


@hookimpl
def invkit_reconstructors() -> Mapping[str, type[Method]]:
    """The core's own reconstructors."""
    return METHODS


@dataclass(frozen=True)
class Origin:
    """The plugin that provides something, and the distribution it came in."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})".replace(" )", ")")

    @property
    def core(self) -> bool:
        """Whether this is invkit itself."""
        return (self.plugin, self.distribution) == ("core", "invkit")


@dataclass(frozen=True)
class Failure:
    """A plugin, or one name that it provides, that cannot be used."""

    origin: Origin
    error: str  # one line
    key: tuple[str, str] | None = None  # (kind, name), where the rest of the plugin may work

    def __str__(self) -> str:
        return f"plugin {self.origin.plugin} ({self.origin.distribution}): {self.error}"


@dataclass(frozen=True)
class Registry:
    """Everything a recipe can name, where it came from, and what could not be loaded."""

    classes: Mapping[str, Mapping[str, type[Settings]]]  # kind -> name -> class
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict)  # (kind, name) -> its provider
    failures: tuple[Failure, ...] = ()
    rivals: Mapping[tuple[str, str], tuple[Origin, ...]] = field(default_factory=dict)  # providers of one name
    files: Mapping[str, str] = field(default_factory=dict)  # plugin file -> its SHA-256

    def names(self, kind: str) -> Mapping[str, type[Settings]]:
        """The implementations of a kind (one of `KINDS`), by their names."""
        return self.classes[kind]

    def get(self, kind: str, name: str) -> type[Any]:
        """The settings class of a name.

        Raises RecipeError for an unknown name, PluginError where a plugin that failed to load may be why.
        """
        if conflict := self.conflict(kind, name):
            raise PluginError(conflict)
        names = self.names(kind)
        if name in names:
            return names[name]
        message = f"unknown {kind} {name!r}{suggest(name, names)}"
        if failed := self._failed(kind, name):
            raise PluginError(f"{message}; failed to load: {'; '.join(map(str, failed))}")
        raise RecipeError(message)

    def conflict(self, kind: str, name: str) -> str | None:
        """What to say of a name that several plugins provide; None of any other."""
        if not (rivals := self.rivals.get((kind, name))):
            return None
        return (
            f"the {kind} {name!r} is provided by both {' and '.join(map(str, rivals))}; "
            "uninstall one of them, or choose plugins with INVKIT_PLUGINS"
        )

    def _failed(self, kind: str, name: str) -> list[Failure]:
        """The failures that may be why a name is unknown: those of the name itself, else all."""
        if kind in CORE:
            return []
        own = [failure for failure in self.failures if failure.key == (kind, name)]
        return own or list(self.failures)

    def name_of(self, settings: Settings) -> str | None:
        """The name under which the class of some settings is registered, None for a plain section."""
        return next(
            (name for names in self.classes.values() for name, cls in names.items() if cls is type(settings)), None
        )

    def called(self, kind: str, settings: Settings) -> str:
        """The name of a chosen implementation. Raises PluginError where it lost its name: others provide it too."""
        if name := self.name_of(settings):
            return name
        conflicts = (self.conflict(of, name) or "" for of, name in self.rivals if of == kind)
        raise PluginError("; ".join(conflicts) or f"the {kind} {type(settings).__name__} is not registered")


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all where none is near."""
    known = list(known)
    if near := get_close_matches(word, known, 1):
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(sorted(known)) or 'none'})"


@functools.cache
def registry(files: tuple[str, ...] = ()) -> Registry:
    """The registry of the core, the installed plugins and some one-off plugin files; built once a process."""
    return load(installed.entries(), files)


def load(entries: Iterable[tuple[str, str, EntryPoint | Exception]], files: Iterable[str] = ()) -> Registry:
    """Load the core, the entry points that `INVKIT_PLUGINS` allows, and plugin files.

    `entries` are as `installed.entries` gives them. Whatever one of them does wrong is recorded in `failures`; a file
    that fails raises PluginError.
    """
    loader = _Loader()
    loader.add(Origin("core", "invkit", _version("invkit")), lambda: sys.modules[__name__])
    points: list[tuple[Origin, EntryPoint]] = []
    for distribution, release, found in entries:
        if isinstance(found, Exception):
            loader.fail(Origin(distribution, distribution, release), f"its metadata cannot be read: {_line(found)}")
        else:
            points.append((Origin(found.name, distribution, release), found))
    allowed = os.environ.get("INVKIT_PLUGINS")
    wanted = None if allowed is None else {name.strip() for name in allowed.split(",")} - {""}
    known = {origin.plugin for origin, _ in points}
    for absent in sorted((wanted or set()) - known):
        loader.fail(Origin(absent, "INVKIT_PLUGINS", ""), f"no such plugin is installed{suggest(absent, known)}")
    for origin, point in points:
        if wanted is None or origin.plugin in wanted:
            loader.add(origin, point.load)
    hashes = {}
    for file in dict.fromkeys(files):
        before = len(loader.failures)
        loader.add(Origin(Path(file).stem, file, ""), functools.partial(_load_file, file))
        if errors := loader.failures[before:]:
            raise PluginError("; ".join(map(str, errors)))
        hashes[file] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return loader.registry(hashes)


class _Loader:
    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("invkit")
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self.found: dict[tuple[str, str], list[tuple[Origin, type[Settings]]]] = {}

    def fail(self, origin: Origin, error: str, key: tuple[str, str] | None = None) -> None:
        self.failures.append(Failure(origin, error, key))

    @contextlib.contextmanager
    def _guard(self, origin: Origin, doing: str = "") -> Iterator[None]:
        """Records whatever goes wrong; what a plugin prints must not mix with results on stdout."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, and what test frameworks raise
            self.fail(origin, doing + _line(error))

    def add(self, origin: Origin, get: Callable[[], Any]) -> None:
        """Load one plugin and take what its hooks provide."""
        before = len(self.failures)
        with self._guard(origin):
            plugin = get()
            self._check_hooks(plugin, origin)
            self.manager.register(plugin, f"{origin.plugin} of {origin.distribution}")
            callers = [caller for caller in self.manager.get_hookcallers(plugin) or () if caller.name in HOOKS]
            if not callers and len(self.failures) == before:
                self.fail(origin, f"provides nothing: it has none of the hooks {', '.join(sorted(HOOKS))}")
            for caller in callers:
                for impl in caller.get_hookimpls():
                    if impl.plugin is plugin:
                        with self._guard(origin, f"{caller.name}(): "):
                            self._take(caller.name, impl.function(), origin)

    def _check_hooks(self, plugin: Any, origin: Origin) -> None:
        for name, value in inspect.getmembers(plugin, inspect.isroutine):
            marked = hasattr(value, "invkit_impl")
            if name not in HOOKS and (marked or name.startswith("invkit_")):
                self.fail(origin, f"there is no hook {name}{suggest(name, HOOKS)}")
            elif name in HOOKS and not marked:
                self.fail(origin, f"{name} is not marked; write @hookimpl above it")

    def _take(self, hook: str, provided: object, origin: Origin) -> None:
        base = HOOKS[hook]
        kind = base.kind
        if not isinstance(provided, Mapping):
            raise TypeError(f"has to return a mapping of names to classes, got {type(provided).__name__}")
        for name, cls in provided.items():
            taken = {c for (k, n), providers in self.found.items() if k == kind and n != name for _, c in providers}
            if fault := _fault(name, cls, base) or (cls in taken and "is registered under another name already"):
                self.fail(origin, f"{hook}(): {name!r}: {fault}", (kind, str(name)))
            else:
                self.found.setdefault((kind, name), []).append((origin, cls))

    def registry(self, files: Mapping[str, str]) -> Registry:
        classes: dict[str, dict[str, type[Settings]]] = {kind: dict(CORE.get(kind, {})) for kind in KINDS}
        origins, rivals = {}, {}
        for (kind, name), providers in self.found.items():
            if len(providers) > 1:
                rivals[kind, name] = tuple(origin for origin, _ in providers)
            else:
                origins[kind, name], classes[kind][name] = providers[0]
        return Registry(classes, origins, tuple(self.failures), rivals, files)


def _line(error: BaseException) -> str:
    """An error as one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, ImportError) and error.name == "invkit.api":  # it names something that is not there yet
        first += f"; the plugin needs another version of invkit than {_version('invkit')}"
    return f"{type(error).__name__}: {first}".removesuffix(": ")


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
    for key, info in cls.model_fields.items():
        typed: Any = Annotated[(info.annotation, info)]
        try:  # pydantic lets any type pass where model_config says so
            TypeAdapter(typed).json_schema()
        except PydanticUserError:
            return f"{cls.__name__}.{key} is of a type that no recipe can write: {info.annotation}"
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
