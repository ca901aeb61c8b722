"""The weights of the components in samples, for images that come from a mixture of known components."""

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Metric, Outcome
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.gaussian.mixture_posterior import MixturePosterior


class ComponentWeights(Metric):
    """Total variation distance between the weights of the components in K samples and in the exact posterior.

    `1/2 sum_i |mean_k r_i(x_k) - w_i(y)|`, with the responsibilities `r_i` of a whole image. That of exact samples is about
    `sum_i sqrt(w_i (1 - w_i) / (2 pi K))`, by chance: compare with the row `oracle`.
    """

    better = "lower"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        law = outcome.law
        if not isinstance(law, GaussianMixture) or len(law.components) < 2:
            raise Unavailable("needs images from a mixture of known components: data.name=mixture-fields")
        if outcome.samples is None:
            raise Unavailable("needs samples")
        exact = MixturePosterior(law, outcome.measurement).weights
        shares = law.responsibilities(outcome.samples.flatten(0, 1)).view(len(outcome.samples), *exact.shape).mean(0)
        return {"sum": 0.5 * (shares - exact).abs().sum(1), "count": torch.ones_like(exact[:, 0])}
