"""How alike two pictures look to a network."""

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.pretrained import BACKBONES, Backbone, NetworkMetric, lpips_network

LEAST = 32  # cells along the shorter side: below, a backbone has nothing left to pool


class Lpips(NetworkMetric):
    """Learned perceptual distance (Zhang et al. 2018, version 0.1): the mean over pictures, 0 for equal ones.

    Of pictures on [0, 1], clipped, what was seen exactly pasted in; of a sample row, of the first sample.
    """

    better = "lower"

    net: Backbone = Field("alex", description="backbone")

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        channels, *shape = outcome.truth.shape[1:]
        if channels != 3:
            raise Unavailable("its network looks at 3 channels")
        if min(shape) < LEAST:
            raise Unavailable(f"the grid is smaller than {LEAST}x{LEAST}, the least that its network looks at")
        file = self.file(BACKBONES[self.net])
        distance = lpips_network(self.net, file, outcome.truth.device)(*outcome.pictures, normalize=True).flatten()
        return {"sum": distance, "count": torch.ones_like(distance)}
