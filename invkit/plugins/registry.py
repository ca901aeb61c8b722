"""The registry: every implementation that a recipe can name, by kind and name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module

from invkit.core.errors import PluginError, RecipeError
from invkit.core.settings import Settings
from invkit.data.base import Dataset
from invkit.evaluation.metrics import Metric
from invkit.physics.degradation import Degradation
from invkit.reconstructors import Method

HOOKS: dict[str, tuple[str, type[Settings]]] = {
    "invkit_datasets": ("dataset", Dataset),
    "invkit_degradations": ("degradation", Degradation),
    "invkit_metrics": ("metric", Metric),
    "invkit_reconstructors": ("method", Method),
}

_CORE = {  # what no plugin provides yet: kind -> where its table stands
    "network": ("invkit.diffusion.networks", "NETWORKS"),
    "field": ("invkit.diffusion", "FIELDS"),
    "schedule": ("invkit.diffusion", "SCHEDULES"),
    "preconditioning": ("invkit.diffusion", "PRECONDITIONINGS"),
    "sampler": ("invkit.diffusion", "SAMPLERS"),
}

KINDS = (*(kind for kind, _ in HOOKS.values()), *_CORE)


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

    degradations: Mapping[str, type[Degradation]]
    datasets: Mapping[str, type[Dataset]]
    methods: Mapping[str, type[Method]]
    metrics: Mapping[str, type[Metric]]
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict)  # (kind, name) -> its provider
    failures: tuple[Failure, ...] = ()
    rivals: Mapping[tuple[str, str], tuple[Origin, ...]] = field(default_factory=dict)  # providers of one name
    files: Mapping[str, str] = field(default_factory=dict)  # plugin file -> its SHA-256

    def names(self, kind: str) -> Mapping[str, type[Settings]]:
        """The implementations of a kind (one of `KINDS`), by their names."""
        if kind in _CORE:
            module, table = _CORE[kind]
            return getattr(import_module(module), table)
        own: dict[str, Mapping[str, type[Settings]]] = {
            "degradation": self.degradations, "dataset": self.datasets, "method": self.methods, "metric": self.metrics,
        }  # fmt: skip
        return own[kind]

    def get(self, kind: str, name: str) -> type[Settings]:
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
        if kind in _CORE:
            return []
        own = [failure for failure in self.failures if failure.key == (kind, name)]
        return own or list(self.failures)

    def name_of(self, settings: Settings) -> str | None:
        """The name under which the class of some settings is registered, None for a plain section."""
        found = (name for kind in KINDS for name, cls in self.names(kind).items() if cls is type(settings))
        return next(found, None)

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
