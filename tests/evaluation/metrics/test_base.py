import numpy as np

from invkit.evaluation.metrics import COLUMNS, METRICS, by_name
from invkit.evaluation.metrics.calibration import Crps


def test_every_metric_of_the_contract_has_its_name():
    names = "psnr psnr_hidden ssim mae crps coverage_50 coverage_80 coverage_90 coverage_95 spread_skill"
    blocks = {"coverage_90@16", "coverage_90@all"}
    assert {*COLUMNS} == {*names.split(), "sample_mse_ratio", "data_misfit", *blocks}
    more = "interval_width_90 sampler_law_slope mean_shift spectral_error variogram_score component_weights c2st lpips fid kid"
    assert {*COLUMNS, *more.split()} == {*METRICS, *blocks}
    assert by_name(cls() for cls in METRICS.values()) == {name: cls() for name, cls in METRICS.items()}


def test_reduction_pools_before_it_divides():
    components = {"sum": np.array([1.0, 9.0]), "count": np.array([1.0, 3.0])}
    pooled = Crps().reduce({name: values.mean() for name, values in components.items()})
    assert pooled == 10 / 4 != np.mean(components["sum"] / components["count"])
