"""The registry: every implementation that a recipe can name, by kind and name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.core.settings import Settings
from invkit.data.base import Dataset
from invkit.diffusion import FIELDS, PRECONDITIONINGS, SAMPLERS, SCHEDULES
from invkit.diffusion.networks import NETWORKS
from invkit.evaluation.metrics import Metric
from invkit.physics.degradation import Degradation
from invkit.reconstructors import Method

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
