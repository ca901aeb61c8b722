"""Metrics, by their names in `eval.metrics` and in the table."""

from invkit.metrics.base import Metric, Outcome, Unavailable
from invkit.metrics.calibration import (
    Coverage50,
    Coverage80,
    Coverage90,
    Coverage95,
    Crps,
    SampleMseRatio,
    SpreadSkill,
)
from invkit.metrics.consistency import DataMisfit
from invkit.metrics.quality import Mae, Psnr, PsnrHidden, Ssim

METRICS: dict[str, type[Metric]] = {
    "psnr": Psnr,
    "crps": Crps,
    "spread_skill": SpreadSkill,
    "coverage_50": Coverage50,
    "coverage_80": Coverage80,
    "coverage_90": Coverage90,
    "coverage_95": Coverage95,
    "sample_mse_ratio": SampleMseRatio,
    "ssim": Ssim,
    "psnr_hidden": PsnrHidden,
    "mae": Mae,
    "data_misfit": DataMisfit,
}


def metric_name(metric: Metric) -> str:
    """The name under which a metric's class is registered."""
    return next(name for name, cls in METRICS.items() if cls is type(metric))


__all__ = ["METRICS", "Metric", "Outcome", "Unavailable", "metric_name"]
