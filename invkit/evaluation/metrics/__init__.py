"""The built-in metrics, by their names in `eval.metrics` and in the table."""

from collections.abc import Iterable

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Metric, Outcome, column, parted
from invkit.evaluation.metrics.c2st import C2st
from invkit.evaluation.metrics.calibration import (
    Coverage50,
    Coverage80,
    Coverage90,
    Coverage95,
    Crps,
    IntervalWidth90,
    MeanShift,
    SampleMseRatio,
    SamplerLawSlope,
    SpreadSkill,
)
from invkit.evaluation.metrics.components import ComponentWeights
from invkit.evaluation.metrics.consistency import DataMisfit
from invkit.evaluation.metrics.fid import Fid, Kid
from invkit.evaluation.metrics.lpips import Lpips
from invkit.evaluation.metrics.quality import Mae, Psnr, PsnrHidden, Ssim
from invkit.evaluation.metrics.spectrum import SpectralError
from invkit.evaluation.metrics.variogram import VariogramScore

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
    "interval_width_90": IntervalWidth90,
    "sampler_law_slope": SamplerLawSlope,
    "mean_shift": MeanShift,
    "spectral_error": SpectralError,
    "component_weights": ComponentWeights,
    "variogram_score": VariogramScore,
    "c2st": C2st,
    "lpips": Lpips,
    "fid": Fid,
    "kid": Kid,
}
COLUMNS = (  # the default metrics; the others are optional
    "psnr", "crps", "spread_skill", "coverage_90", "coverage_90@16", "coverage_90@all", "coverage_50",
    "coverage_80", "coverage_95", "sample_mse_ratio", "ssim", "psnr_hidden", "mae", "data_misfit",
)  # fmt: skip


def named(name: str) -> Metric:
    """The built-in metric of a column, such as `psnr` or `crps@16`, with default settings otherwise."""
    name, settings = parted(name)
    return METRICS[name](**settings)


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The given built-in metrics by the names of their columns, in the given order."""
    names = {cls: name for name, cls in METRICS.items()}
    return {column(names[type(metric)], metric): metric for metric in metrics}


__all__ = ["COLUMNS", "METRICS", "Metric", "Outcome", "Unavailable", "by_name", "column", "named", "parted"]
