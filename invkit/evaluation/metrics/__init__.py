"""The built-in metrics, by their names in `eval.metrics` and in the table."""

from collections.abc import Iterable

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Metric, Outcome
from invkit.evaluation.metrics.calibration import (
    Coverage50,
    Coverage80,
    Coverage90,
    Coverage95,
    Crps,
    IntervalWidth90,
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
    "spectral_error": SpectralError,
    "component_weights": ComponentWeights,
    "lpips": Lpips,
    "fid": Fid,
    "kid": Kid,
}
COLUMNS = tuple(METRICS)[:12]  # the default metrics; the others are optional


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The given built-in metrics by name, in the given order."""
    names = {cls: name for name, cls in METRICS.items()}
    return {names[type(metric)]: metric for metric in metrics}


__all__ = ["COLUMNS", "METRICS", "Metric", "Outcome", "Unavailable", "by_name"]
