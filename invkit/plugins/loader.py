"""Load plugins one at a time, check them, and record failures."""

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pluggy
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from invkit.core.errors import PluginError, first_line, suggest
from invkit.core.settings import Settings
from invkit.plugins import builtin, entry_points, hookspecs
from invkit.plugins.registry import CORE, HOOKS, KINDS, Failure, Origin, Registry


@functools.cache
def registry(files: tuple[str, ...] = ()) -> Registry:
    """The registry of the core, the installed plugins and the given plugin files; cached for the process."""
    return load(entry_points.entries(), files)


def load(entries: Iterable[tuple[str, str, EntryPoint | Exception]], files: Iterable[str] = ()) -> Registry:
    """Load the core, the entry points that `INVKIT_PLUGINS` allows, and plugin files.

    `entries` are those of `entry_points.entries`. Their errors are recorded in `Registry.failures`; a file that fails raises
    PluginError.
    """
    loader = _Loader()
    loader.add(Origin("core", "invkit", entry_points.version_of("invkit") or ""), lambda: builtin)
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
    """Collects implementations and failures while plugins are loaded."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("invkit")
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self.found: dict[tuple[str, str], list[tuple[Origin, type[Settings]]]] = {}

    def fail(self, origin: Origin, error: str, key: tuple[str, str] | None = None) -> None:
        self.failures.append(Failure(origin, error, key))

    @contextlib.contextmanager
    def _guard(self, origin: Origin, doing: str = "") -> Iterator[None]:
        """Records any exception as a failure, and redirects stdout to stderr, since stdout is for results."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit and the exceptions of test frameworks
            self.fail(origin, doing + _line(error))

    def add(self, origin: Origin, get: Callable[[], Any]) -> None:
        """Load a plugin and register what its hooks return."""
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
                            self._register(caller.name, impl.function(), origin)

    def _check_hooks(self, plugin: Any, origin: Origin) -> None:
        for name, value in inspect.getmembers(plugin, inspect.isroutine):
            marked = hasattr(value, "invkit_impl")
            if name not in HOOKS and (marked or name.startswith("invkit_")):
                self.fail(origin, f"there is no hook {name}{suggest(name, HOOKS)}")
            elif name in HOOKS and not marked:
                self.fail(origin, f"{name} is not marked; write @hookimpl above it")

    def _register(self, hook: str, provided: object, origin: Origin) -> None:
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
        origins, duplicates = {}, {}
        for (kind, name), providers in self.found.items():
            if len(providers) > 1:
                duplicates[kind, name] = tuple(origin for origin, _ in providers)
            else:
                origins[kind, name], classes[kind][name] = providers[0]
        return Registry(classes, origins, tuple(self.failures), duplicates, files)


def _line(error: BaseException) -> str:
    """An error as one line: type and first line of the message."""
    first = first_line(error)
    if isinstance(error, ImportError) and error.name == "invkit.api":  # a name missing in this version
        first += f"; the plugin needs another version of invkit than {entry_points.version_of('invkit')}"
    elif isinstance(error, ModuleNotFoundError):
        first += "; install the package that has it with pip"
    name = type(error).__name__
    return name if first == name else f"{name}: {first}"


def _fault(name: object, cls: object, base: type[Settings]) -> str | None:
    """The reason why a class cannot be registered under a name; None if it can."""
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", name)):
        return "a name consists of lower-case letters, digits and single hyphens"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"has to be a subclass of {base.__name__}, got {cls!r}"
    if inspect.isabstract(cls):
        return f"{cls.__name__} does not define {', '.join(sorted(cls.__abstractmethods__))}"
    changed = [key for key in ("frozen", "strict", "extra") if cls.model_config.get(key) != base.model_config.get(key)]
    if changed:
        return f"{cls.__name__} changes {', '.join(changed)} in its model_config, which is fixed"
    if "name" in cls.model_fields:
        return f"{cls.__name__} has a field 'name', which is reserved for the name of the implementation"
    for key, info in cls.model_fields.items():
        typed: Any = Annotated[(info.annotation, info)]
        try:  # with arbitrary_types_allowed pydantic accepts any type
            TypeAdapter(typed).json_schema()
        except PydanticUserError:
            return f"{cls.__name__}.{key} has a type that cannot be written in a recipe: {info.annotation}"
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
