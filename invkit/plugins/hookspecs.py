"""Hook specifications: what a plugin can provide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from invkit.data.base import Dataset
    from invkit.diffusion.networks import Network
    from invkit.diffusion.samplers import Sampler
    from invkit.evaluation.metrics.base import Metric
    from invkit.physics.degradation import Degradation
    from invkit.physics.noise import NoiseLaw
    from invkit.reconstructors import Method
    from invkit.reconstructors.zeroshot import ImagePrior

hookspec = pluggy.HookspecMarker("invkit")
hookimpl = pluggy.HookimplMarker("invkit")


@hookspec
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    """Degradations, by name in a recipe.

    Example::

        @hookimpl
        def invkit_degradations():
            return {"sparse-random": RandomPixels}
    """
    raise NotImplementedError


@hookspec
def invkit_datasets() -> Mapping[str, type[Dataset]]:
    """Datasets, by name in a recipe.

    Example::

        @hookimpl
        def invkit_datasets():
            return {"moons": Moons}
    """
    raise NotImplementedError


@hookspec
def invkit_reconstructors() -> Mapping[str, type[Method]]:
    """Reconstructors, by name in `eval.methods`.

    Example::

        @hookimpl
        def invkit_reconstructors():
            return {"mid-grey": MidGreyMethod}
    """
    raise NotImplementedError


@hookspec
def invkit_metrics() -> Mapping[str, type[Metric]]:
    """Metrics, by name in `eval.metrics`.

    Example::

        @hookimpl
        def invkit_metrics():
            return {"brightness_bias": BrightnessBias}
    """
    raise NotImplementedError


@hookspec
def invkit_noises() -> Mapping[str, type[NoiseLaw]]:
    """Noise laws, by name in `noise`.

    Example::

        @hookimpl
        def invkit_noises():
            return {"laplace": Laplace}
    """
    raise NotImplementedError


@hookspec
def invkit_samplers() -> Mapping[str, type[Sampler]]:
    """Samplers, by name in `sample.method`.

    Example::

        @hookimpl
        def invkit_samplers():
            return {"euler": Euler}
    """
    raise NotImplementedError


@hookspec
def invkit_networks() -> Mapping[str, type[Network]]:
    """Networks of the conditional model, by name in `model`.

    Example::

        @hookimpl
        def invkit_networks():
            return {"plain-cnn": PlainCnn}
    """
    raise NotImplementedError


@hookspec
def invkit_priors() -> Mapping[str, type[ImagePrior]]:
    """Priors of zero-shot solvers, by name in `prior`.

    Example::

        @hookimpl
        def invkit_priors():
            return {"shrinkage": Shrinkage}
    """
    raise NotImplementedError
