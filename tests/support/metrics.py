"""The value of a metric over the images of an outcome."""

import torch

from invkit.evaluation.metrics.base import Metric, Outcome


def value(metric: Metric, outcome: Outcome) -> float:
    parts = metric.components(outcome)
    assert all(part.shape == (len(outcome.truth),) and part.dtype == torch.float64 for part in parts.values())
    return float(metric.reduce({name: part.numpy().mean() for name, part in parts.items()}))
