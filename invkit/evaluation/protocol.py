"""The evaluation protocol: everything except methods and images that determines the values of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invkit.core.device import cells_at_once
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.evaluation.bootstrap import INTERVAL
from invkit.evaluation.conformal import GUARANTEE
from invkit.evaluation.metrics import Metric
from invkit.evaluation.ranking import RULE
from invkit.evaluation.ranks import TEST
from invkit.evaluation.risk import guarantee
from invkit.evaluation.settings import Eval
from invkit.physics.degradation import Degradation
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.mixture import GaussianMixture
from invkit.physics.measurement import Measurement, measure
from invkit.physics.noise import NoiseLaw, facts


@dataclass(frozen=True, eq=False)
class Protocol:
    """How images are measured and methods are scored: the same for every method of a table."""

    run: str  # name of the run
    degradation_name: str
    degradation: Degradation
    noise: NoiseLaw
    settings: Eval
    metrics: Mapping[str, Metric]  # columns by name
    seed: int
    device: torch.device
    law: GaussianField | GaussianMixture | None = None  # the distribution of the images, if known

    @property
    def batch(self) -> int:
        """Images per batch."""
        if self.settings.batch != "auto":
            return self.settings.batch
        if self.device.type != "cuda":
            return 16
        return min(256, max(16, cells_at_once(self.device) // (1024 * self.settings.samples)))

    def measure(self, images: Images, ids: Sequence[int]) -> tuple[Tensor, Measurement]:
        """The true images (B, C, H, W) with these indices, and their measurements, keyed by image."""
        x = images[ids].to(self.device)
        operator = self.degradation.sample(Keys.of(self.seed, "eval/operator", ids, self.device), images.grid)
        return x, measure(operator, x, self.noise, Keys.of(self.seed, "eval/noise", ids, self.device))

    def sample_keys(self, method: str, ids: Sequence[int]) -> Keys:
        """Keys of a method's samples; rows of one method with different settings share their noise."""
        return Keys.of(self.seed, f"eval/sample/{method.partition('#')[0]}", ids, self.device)

    def facts(self, count: int, groups: Mapping[str, int], hashes: Mapping[str, str]) -> dict[str, Any]:
        """The protocol as `table.json` states it: `count` images; number of groups and hash of the masks by grid."""
        return {
            "images": count,
            "samples": self.settings.samples,
            "seed": self.seed,
            "degradation": {
                "name": self.degradation_name,
                **self.degradation.model_dump(mode="json", serialize_as_any=True),
            },
            "noise": facts(self.noise),
            "masks_sha256": dict(hashes),
            "interval": INTERVAL,
            "groups": dict(groups),
            "paired_to": self.settings.paired_to,
            "better": {name: metric.better for name, metric in self.metrics.items()},
            "best": RULE,
            "conformal": GUARANTEE,
            "risk": guarantee(self.settings.alpha, self.settings.delta),
            "ranks": TEST,
        }
