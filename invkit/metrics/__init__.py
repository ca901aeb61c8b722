"""Metrics, by their names in `eval.metrics` and in the table."""

from collections.abc import Iterable

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


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The core's metrics by their names, in their order."""
    names = {cls: name for name, cls in METRICS.items()}
    return {names[type(metric)]: metric for metric in metrics}


__all__ = ["METRICS", "Metric", "Outcome", "Unavailable", "by_name"]
