"""Hook implementations of invkit itself: built-in degradations, datasets, methods, metrics, networks, noise laws,
priors and samplers.
"""

from collections.abc import Mapping

from invkit.data.base import Dataset
from invkit.diffusion.networks import NETWORKS, Network
from invkit.diffusion.samplers import SAMPLERS, Sampler
from invkit.evaluation.metrics import METRICS, Metric
from invkit.physics.degradation import Degradation
from invkit.physics.noise import NOISES, NoiseLaw
from invkit.plugins.hookspecs import hookimpl
from invkit.reconstructors import METHODS, Method
from invkit.reconstructors.zeroshot import PRIORS, ImagePrior


@hookimpl
def invkit_datasets() -> Mapping[str, type[Dataset]]:
    """Built-in datasets."""
    from invkit.data.cifar10 import Cifar10
    from invkit.data.gaussian_fields import Fields, HeavyTailedFields, MixtureFields
    from invkit.data.images import ImageFiles
    from invkit.data.photos import Photos

    return {
        "photos": Photos, "cifar10": Cifar10, "images": ImageFiles, "fields": Fields, "mixture-fields": MixtureFields,
        "heavy-tailed-fields": HeavyTailedFields,
    }  # fmt: skip


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    """Built-in degradations: composition, mixture, and the empty measurement."""
    from invkit.physics.degradations import Compose, Mixture, Nothing

    return {"compose": Compose, "mixture": Mixture, "nothing": Nothing}


@hookimpl
def invkit_metrics() -> Mapping[str, type[Metric]]:
    """Built-in metrics."""
    return METRICS


@hookimpl
def invkit_networks() -> Mapping[str, type[Network]]:
    """Built-in networks."""
    return NETWORKS


@hookimpl
def invkit_noises() -> Mapping[str, type[NoiseLaw]]:
    """Built-in noise laws."""
    return NOISES


@hookimpl
def invkit_priors() -> Mapping[str, type[ImagePrior]]:
    """Built-in priors of zero-shot solvers."""
    return PRIORS


@hookimpl
def invkit_reconstructors() -> Mapping[str, type[Method]]:
    """Built-in reconstructors."""
    return METHODS


@hookimpl
def invkit_samplers() -> Mapping[str, type[Sampler]]:
    """Built-in samplers."""
    return SAMPLERS
