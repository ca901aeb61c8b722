import pytest
import torch
from support.metrics import value

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.consistency import DataMisfit
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.separable import Separable


@pytest.mark.parametrize("kind", ["mask", "channel mask", "halves"])
def test_an_offset_of_the_measured_values_is_the_misfit(kind):
    keys = Keys.of(0, "test", range(4))
    truth = keys.uniform("x", 3, 8, 8)
    if kind == "halves":
        operator, gain = Separable(4, Grid(8, 8), columns=2 * torch.eye(8, dtype=torch.float64)[None, :4]), 2
    else:
        operator, gain = Mask(keys.uniform("mask", 1 if kind == "mask" else 3, 8, 8) < 0.2), 1
    measurement = Measurement(operator, operator.forward(truth))
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth)) == 0
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth + 0.25)) == pytest.approx(
        0.25 * gain, rel=1e-5
    )
    samples = torch.stack([truth + 0.3, truth - 0.4])
    assert value(DataMisfit(), Outcome(truth, measurement, "sample", samples[0], samples)) == pytest.approx(
        gain * (0.125) ** 0.5, rel=1e-5
    )


def test_the_truth_misfits_by_the_noise():
    keys = Keys.of(0, "test", range(16))
    truth = keys.uniform("x", 3, 16, 16)
    measurement = measure(Mask(keys.uniform("mask", 1, 16, 16) < 0.5), truth, Noise(sigma=0.2), keys.child("noise"))
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth)) == pytest.approx(0.2, rel=0.03)
