"""The core's own hook implementations: built-in degradations, data sets, methods and metrics."""

from collections.abc import Mapping

from invkit.data.base import Dataset
from invkit.evaluation.metrics import METRICS, Metric
from invkit.physics.degradation import Degradation
from invkit.plugins.hookspecs import hookimpl
from invkit.reconstructors import METHODS, Method


@hookimpl
def invkit_datasets() -> Mapping[str, type[Dataset]]:
    """The core's own data sets."""
    from invkit.data.cifar10 import Cifar10
    from invkit.data.gaussian_fields import Fields
    from invkit.data.images import ImageFiles
    from invkit.data.photos import Photos

    return {"photos": Photos, "cifar10": Cifar10, "images": ImageFiles, "fields": Fields}


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    """The core's own degradations: those made of others, and the one that observes nothing."""
    from invkit.physics.degradations import Compose, Mixture, Nothing

    return {"compose": Compose, "mixture": Mixture, "nothing": Nothing}


@hookimpl
def invkit_metrics() -> Mapping[str, type[Metric]]:
    """The core's own metrics."""
    return METRICS


@hookimpl
def invkit_reconstructors() -> Mapping[str, type[Method]]:
    """The core's own reconstructors."""
    return METHODS
