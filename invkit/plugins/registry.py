"""The registry of implementations, by kind and name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.core.settings import Settings
from invkit.data.base import Dataset
from invkit.diffusion import FIELDS, PRECONDITIONINGS, SCHEDULES
from invkit.diffusion.networks import Network
from invkit.diffusion.samplers import Sampler
from invkit.evaluation.metrics import Metric
from invkit.physics.degradation import Degradation
from invkit.physics.noise import NoiseLaw
from invkit.reconstructors import Method
from invkit.reconstructors.zeroshot import ImagePrior

HOOKS: dict[str, type[Settings]] = {  # hook -> base class of the implementations
    "invkit_datasets": Dataset,
    "invkit_degradations": Degradation,
    "invkit_metrics": Metric,
    "invkit_networks": Network,
    "invkit_noises": NoiseLaw,
    "invkit_priors": ImagePrior,
    "invkit_reconstructors": Method,
    "invkit_samplers": Sampler,
}
CORE: dict[str, Mapping[str, type[Settings]]] = {  # kinds without a hook
    "field": FIELDS,
    "schedule": SCHEDULES,
    "preconditioning": PRECONDITIONINGS,
}
KINDS = (*(base.kind for base in HOOKS.values()), *CORE)


@dataclass(frozen=True)
class Origin:
    """The plugin that provides an implementation, and its distribution."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})".replace(" )", ")")

    @property
    def core(self) -> bool:
        """Whether the provider is invkit itself."""
        return (self.plugin, self.distribution) == ("core", "invkit")


@dataclass(frozen=True)
class Failure:
    """A plugin, or a single implementation of it, that cannot be used."""

    origin: Origin
    error: str  # one line
    key: tuple[str, str] | None = None  # (kind, name) of a single implementation

    def __str__(self) -> str:
        return f"plugin {self.origin.plugin} ({self.origin.distribution}): {self.error}"


@dataclass(frozen=True)
class Registry:
    """All implementations, their providers, and the plugins that could not be loaded."""

    classes: Mapping[str, Mapping[str, type[Settings]]]  # kind -> name -> class
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict)  # (kind, name) -> provider
    failures: tuple[Failure, ...] = ()
    duplicates: Mapping[tuple[str, str], tuple[Origin, ...]] = field(default_factory=dict)  # (kind, name) -> providers
    files: Mapping[str, str] = field(default_factory=dict)  # plugin file -> its SHA-256

    def names(self, kind: str) -> Mapping[str, type[Settings]]:
        """The implementations of a kind (one of `KINDS`), by name."""
        return self.classes[kind]

    def get(self, kind: str, name: str) -> type[Any]:
        """The settings class of a name.

        Raises RecipeError for an unknown name; PluginError if several plugins provide it, or if a plugin that failed to
        load may be the cause.
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
        """The error message for a name provided by several plugins; None for any other."""
        if not (origins := self.duplicates.get((kind, name))):
            return None
        return (
            f"the {kind} {name!r} is provided by both {' and '.join(map(str, origins))}; "
            "uninstall one of them, or choose plugins with INVKIT_PLUGINS"
        )

    def _failed(self, kind: str, name: str) -> list[Failure]:
        """The failures that may explain an unknown name: those of the name itself if there are any, otherwise all."""
        if kind in CORE:
            return []
        own = [failure for failure in self.failures if failure.key == (kind, name)]
        return own or list(self.failures)

    def name_of(self, settings: Settings) -> str | None:
        """The name under which the class of `settings` is registered, or None."""
        return next(
            (name for names in self.classes.values() for name, cls in names.items() if cls is type(settings)), None
        )

    def registered_name(self, kind: str, settings: Settings) -> str:
        """As `name_of`. Raises PluginError if there is no name, or several plugins provide it."""
        if name := self.name_of(settings):
            return name
        conflicts = (self.conflict(of, name) or "" for of, name in self.duplicates if of == kind)
        raise PluginError("; ".join(conflicts) or f"the {kind} {type(settings).__name__} is not registered")
