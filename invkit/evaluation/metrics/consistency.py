"""Consistency of a reconstruction with the measured data."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.metrics.base import Means, Metric, Outcome


class DataMisfit(Metric):
    """Root mean square of `A x - y` over all measured values, in [-1, 1] units, without pasting or clipping.

    For samples, the mean square is taken over all K. The truth has the value `noise.sigma`.
    """

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        operator, y = outcome.measurement.operator, outcome.measurement.y
        results = [outcome.estimate] if outcome.samples is None else list(outcome.samples)
        errors = torch.stack([(operator.forward(x) - y).double().square().flatten(1).sum(1) for x in results])
        values = operator.measured(torch.ones_like(y))
        return {"sum": errors.mean(0), "count": values.double().flatten(1).sum(1)}

    def reduce(self, means: Means) -> NDArray[np.float64]:
        return np.sqrt(means["sum"] / means["count"])
