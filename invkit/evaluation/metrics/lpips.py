"""LPIPS: perceptual distance between estimate and truth by network features."""

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.pretrained import BACKBONES, Backbone, NetworkMetric, lpips_network

LEAST = 32  # smallest number of cells along the shorter side that the pooling of all backbones allows


class Lpips(NetworkMetric):
    """Learned perceptual distance (Zhang et al. 2018, version 0.1): the mean over images, 0 for equal images.

    Images are on [0, 1], clipped, with exactly observed pixels pasted in; for a sample row, the first sample.
    """

    better = "lower"

    net: Backbone = Field("alex", description="backbone network")

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        channels, *shape = outcome.truth.shape[1:]
        if channels != 3:
            raise Unavailable("its network requires 3 channels")
        if min(shape) < LEAST:
            raise Unavailable(f"the grid is smaller than {LEAST}x{LEAST}, the smallest that its network supports")
        file = self.file(BACKBONES[self.net])
        distance = lpips_network(self.net, file, outcome.truth.device)(*outcome.pictures, normalize=True).flatten()
        return {"sum": distance, "count": torch.ones_like(distance)}
